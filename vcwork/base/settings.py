"""What can be set: strict and frozen models, whose mistakes come back to a person in one sentence; for libraries that
ask it when they are loaded, the environment.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from vcwork.base.errors import VcworkError


class Strict(BaseModel):
    """Unknown keys and wrong types are refused; instances do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: object, info: ValidationInfo) -> object:
        """As it is; pydantic takes yes for 1, and a quoted number for one."""
        if isinstance(value, bool | str) and cls.model_fields[str(info.field_name)].annotation in (int, float):
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
