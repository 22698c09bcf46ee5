"""What a source of images is: two splits of pictures with labels, before anything is stored.

A split gives pictures by number, in an order that is the same on every machine, and can be sent to writer processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.data.resize import Picture
from harness.errors import UsageError
from variants.values import value

if TYPE_CHECKING:  # base loads torch, and a list of names should not
    from harness.data.base import Progress


class SourceSplit(Protocol):
    """One split of a source.

    root: the folder its files lie in by `name`, or None where the pictures are no files of their own.
    labels: int64, (N,). boxes: float32, (N, 4), shares of each picture, or None. listing: sha256 in hex over what
    identifies the pictures: names, labels and sizes of files, or the pixels themselves.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32] | None
    listing: str
    root: Path | None

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def item(self, index: int) -> Picture:
        """Raises one of squares.DECODE_ERRORS where the picture is broken."""
        ...


Splits: TypeAlias = tuple[SourceSplit, SourceSplit]  # train, val


@value
class Source:
    """One row. `open(path, cache, progress)` gives the two splits; it downloads into `cache` where it has to."""

    name: str
    meaning: str
    classes: int | None  # None: as many as the folder has
    needs_path: bool
    boxes: bool
    open: Callable[[Path | None, Path, Progress], Splits]


class Part:
    """Some pictures of a split, by their numbers in it (ascending)."""

    def __init__(self, whole: SourceSplit, kept: NDArray[np.int64]) -> None:
        self.whole, self.kept = whole, kept
        self.classes, self.root = whole.classes, whole.root
        self.labels = whole.labels[kept]
        self.boxes = None if whole.boxes is None else whole.boxes[kept]
        self.listing = hashlib.sha256(whole.listing.encode() + kept.astype("<i8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.kept)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.kept[index]))

    def item(self, index: int) -> Picture:
        return self.whole.item(int(self.kept[index]))


def balanced(split: SourceSplit, count: int) -> Part:
    """The first `count` pictures of a shuffle (always the same one) that takes the classes in turn.

    Class sizes differ by one at most, as long as no class runs out.
    """
    if not 0 < count <= len(split):
        raise UsageError(f"a limit of {count} images, but there are {len(split)}; use 1 to {len(split)}")
    shuffled = np.random.Generator(np.random.Philox(key=2012)).permutation(len(split))
    labels = split.labels[shuffled]
    turn = np.empty(len(split), dtype=np.int64)
    for label in range(len(split.classes)):
        places = np.flatnonzero(labels == label)
        turn[places] = np.arange(len(places))
    first = np.argsort(turn, kind="stable")[:count]
    return Part(split, np.sort(shuffled[first]))
