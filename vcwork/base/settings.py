"""What can be set: strict and frozen models, whose mistakes come back to a person in one sentence; for libraries that
ask it when they are loaded, the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from vcwork.base.errors import VcworkError

_UNREAD = re.compile(r"[-+]?\d+(\.\d*(?=[eE]\d))?[eE][-+]?\d+")  # numbers that YAML 1.1 leaves as text: 1e-4, 1.5e3


class Strict(BaseModel):
    """Unknown keys and wrong types are refused; instances do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: object, info: ValidationInfo) -> object:
        """As it is, and 1e-4 as the float it is; pydantic takes yes for 1, and a quoted number for one."""
        kind = cls.model_fields[str(info.field_name)].annotation
        kinds = {*(get_args(kind) or [kind])} - {NoneType, Ellipsis}  # float | None, tuple[int, ...]
        if kinds == {float} and isinstance(value, str) and _UNREAD.fullmatch(value):
            return float(value)
        if kinds <= {int, float} and any(isinstance(one, bool | str) for one in _each(value)):
            raise ValueError("expected a number")
        return value

    @classmethod
    def checked(cls, **values: object) -> "Strict":
        """Build from a person's values; all mistakes come back in one VcworkError."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [
                f"{'.'.join(map(str, e['loc'])) or cls.__name__}: {e['msg']}, got {e['input']!r}"
                for e in error.errors()
            ]
            raise VcworkError(f"{cls.__name__}: " + "; ".join(lines)) from None


def _each(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else (value,)


@contextmanager
def environment(told: Mapping[str, str]) -> Iterator[None]:
    """What is loaded or started inside finds these names as told; afterwards all is as before."""
    before = {name: os.environ[name] for name in told if name in os.environ}
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            os.environ.pop(name, None)
        os.environ.update(before)
