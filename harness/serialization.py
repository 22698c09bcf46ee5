"""Values to JSON and back.

Reading is strict: a wrong type or an unknown field is an error that names its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable
from functools import cache
from math import isfinite
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.errors import RecordError

T = TypeVar("T")


@cache
def _cached_adapter(cls: Hashable) -> TypeAdapter[Any]:
    made: TypeAdapter[Any] = TypeAdapter(cls)  # type: ignore[arg-type]  # every type here is hashable
    return made


def _adapter(cls: Any) -> TypeAdapter[Any]:
    return _cached_adapter(cls)


def to_plain(item: Any, cls: Any = None) -> Any:
    """`item` as dicts, lists, strings, numbers and None."""
    return _adapter(cls or type(item)).dump_python(item, mode="json")


def to_json(item: Any, cls: Any = None) -> str:
    """One line of canonical JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(to_plain(item, cls), sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_json(text: str | bytes, cls: type[T], renamed: Callable[[Any], Any] | None = None) -> T:
    """The value that the text describes. Raises RecordError naming the field where it does not describe
    a `cls`.

    renamed: turns the JSON of an older schema version into the present one's.
    """
    try:
        if renamed is not None:
            text = json.dumps(renamed(strict_json(text)))
        made: T = _adapter(cls).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise RecordError(
            f"not a valid {getattr(cls, '__name__', cls)}: {place}: {first['msg']}"
        ) from error
    except (
        ValueError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        older = "" if renamed is None else " of an older version"
        raise RecordError(f"not a {getattr(cls, '__name__', cls)}{older}: {error!r}") from error
    return made


def strict_json(text: str | bytes) -> Any:
    """json.loads, but ValueError for NaN, infinities and numbers that are too large for a float,
    such as 1e999.
    """
    return json.loads(text, parse_float=_finite, parse_constant=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def digest(item: Any) -> str:
    """sha256 over the canonical JSON, in hex: the identity of a value."""
    return hashlib.sha256(to_json(item).encode()).hexdigest()
