"""A library of videos, asked: exact and approximate indexes, and the verbs of `vcwork`."""

import sys
from types import ModuleType
from typing import Any

from vcwork.base.doors import door

_WHERE = {
    "VideoIndex": "index",
    "without_overlap": "hits",
    "PER": "library",
    "ask": "library",
    "build_library": "library",
    "embed": "library",
    "find_moments": "library",
    "hits_table": "library",
    "right_items": "library",
    "window_library": "library",
    "kinds_table": "quality",
}
__all__, __getattr__, __dir__ = door(__name__, _WHERE)


class _Room(ModuleType):
    """This package, which `vcwork.search(encoder, sentence, ...)` calls.

    The verb and the room share a name, and Python puts a package in its parent's namespace once it is imported.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from vcwork.search.verbs import search

        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
