"""Doors: what a room's `__init__` offers, each name imported from the file that defines it when it is first used.

So a door costs nothing to open: `from vcwork.data import open_corpus` loads no index, no model, no notebook package.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def door(room: str, where: dict[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of the package `room`; `where` tells each name's file, {name: "file"}.

    No name may be that of a file of the room: once the file is imported, Python finds that first.
    """

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{where[name]}"), name)

    return sorted(where), find, lambda: sorted({"__doc__", "__name__", *where})
