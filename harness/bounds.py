"""Numbers as records hold them, with the bounds that are checked when one is read.

Infinity and NaN are never valid.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Le, MinLen

LARGEST = 2**53  # every whole number up to here is a float, too

Fraction: TypeAlias = Annotated[float, Ge(0), Le(1)]
Count: TypeAlias = Annotated[int, Ge(0), Le(LARGEST)]
Size: TypeAlias = Annotated[int, Ge(1), Le(LARGEST)]  # of what can't be empty
Amount: TypeAlias = Annotated[float, Ge(0), Le(LARGEST)]  # seconds, MiB, epochs
Losses: TypeAlias = Annotated[tuple[float, ...], MinLen(1)]
