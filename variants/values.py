"""`@value`: the decorator of all value classes.

They are frozen, keyword-only, and strict when read from JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass that pydantic reads strictly: no unknown field,
    infinity or NaN.
    """
    made = dataclass(frozen=True, kw_only=True)(cls)
    # pydantic reads this attribute of standard dataclasses; as a plain dict it needs no import of
    # pydantic.
    made.__pydantic_config__ = {"strict": True, "extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return made


class SpecError(ValueError):
    """A description that can't be built.

    The message names the field, its value and a value that works.
    """
