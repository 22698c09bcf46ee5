"""What a source of images is: two splits of images with labels, before anything is stored.

A split gives images by number, in an order that is the same on every machine, and can be sent to writer
processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.data.progress import Progress
from harness.data.resize import Picture
from harness.errors import UsageError
from variants.values import value

if TYPE_CHECKING:  # these load torch and pydantic, and a list of names should not
    from harness.data.base import Prepared
    from harness.data.prepare.manifest import StoreSettings


class ImageDataset(Protocol):
    """One split of a source, as a map-style data set.

    root: the folder its files are in by `name`, or None where the images are no files of their own.
    labels: int64, (N,). boxes: float32, (N, 4), fractions of each image, or None. listing: sha256 in
    hex over what can be known without reading files: their names, labels and sizes. Without files: over
    the pixels themselves.
    ignored: files left out because of their suffix. contents: what the images are, where the source's
    name alone does not say it.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32] | None
    listing: str
    root: Path | None
    ignored: int
    contents: str

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of `item`, without decoding it. Raises one of resize.DECODE_ERRORS."""
        ...

    def item(self, index: int) -> Picture:
        """Raises one of resize.DECODE_ERRORS where the image is broken."""
        ...

    def item_and_digest(self, index: int) -> tuple[Picture, bytes]:
        """As `item`, with the sha256 of the image's file; b"" where the listing covers the pixels."""
        ...


Splits: TypeAlias = tuple[ImageDataset, ImageDataset]  # train, val


@value
class DataSource:
    """One row: a data set by name, with either `open` or `generate`.

    open(path, cache, progress): the two splits; it downloads into `cache` where it has to.
    generate(settings, progress): the whole data set, for images that are made in memory and never
    stored.
    """

    name: str
    description: str
    classes: int | None  # None: as many as the folder has
    needs_path: bool = False
    boxes: bool = False
    open: Callable[[Path | None, Path, Progress], Splits] | None = None
    generate: Callable[[StoreSettings, Progress], Prepared] | None = None


class Subset:
    """Some images of a split, by their numbers in it (ascending)."""

    def __init__(self, whole: ImageDataset, kept: NDArray[np.int64]) -> None:
        self.whole, self.kept = whole, kept
        self.classes, self.root = whole.classes, whole.root
        self.ignored, self.contents = whole.ignored, whole.contents
        self.labels = whole.labels[kept]
        self.boxes = None if whole.boxes is None else whole.boxes[kept]
        self.listing = hashlib.sha256(whole.listing.encode() + kept.astype("<i8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.kept)

    def name(self, index: int) -> str:
        return self.whole.name(int(self.kept[index]))

    def size(self, index: int) -> tuple[int, int]:
        return self.whole.size(int(self.kept[index]))

    def item(self, index: int) -> Picture:
        return self.whole.item(int(self.kept[index]))

    def item_and_digest(self, index: int) -> tuple[Picture, bytes]:
        return self.whole.item_and_digest(int(self.kept[index]))


def balanced(split: ImageDataset, count: int) -> Subset:
    """The first `count` images of a shuffle (always the same one) that takes the classes in turn.

    Class sizes differ by one at most, as long as no class runs out.
    """
    if not 0 < count <= len(split):
        raise UsageError(
            f"a limit of {count} images, but there are {len(split)}; use 1 to {len(split)}"
        )
    shuffled = np.random.Generator(np.random.Philox(key=2012)).permutation(len(split))
    labels = split.labels[shuffled]
    turn = np.empty(len(split), dtype=np.int64)
    for label in range(len(split.classes)):
        places = np.flatnonzero(labels == label)
        turn[places] = np.arange(len(places))
    first = np.argsort(turn, kind="stable")[:count]
    return Subset(split, np.sort(shuffled[first]))
