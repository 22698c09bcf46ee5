"""The named data sets, one row each: what they are, and how their pictures are reached before anything is stored.

A split gives pictures by number, in an order that is the same on every machine, and can be sent to writer processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.data.squares import Picture
from harness.errors import DataError, UsageError, unknown
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


def source_named(name: str) -> Source:
    """Raises UsageError with a suggestion."""
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES, "python -m harness data list")
    return SOURCES[name]


def _fashion_mnist(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources_fashion import open_fashion_mnist

    return open_fashion_mnist(path, cache, progress)


def _boxes(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources_composed import open_composed
    from harness.data.sources_fashion import open_fashion_mnist

    train, val = open_fashion_mnist(path, cache, progress)
    return open_composed(train, val)


def _cifar10(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources_cifar import open_cifar10

    return open_cifar10(path, cache, progress)


def _folder(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources_folder import open_class_folders

    return open_class_folders(_given(path), progress)


def _imagenet_boxes(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources_ilsvrc import open_located

    return open_located(_given(path), progress)


def _synthetic(path: Path | None, cache: Path, progress: Progress) -> Splits:
    raise DataError("synthetic images are made in memory and can't be written; use --data synthetic without preparing")


def _given(path: Path | None) -> Path:
    if path is None:
        raise UsageError("this data set needs the folder it lies in; add --path FOLDER")
    return path


_ROWS = (
    Source(
        name="fashion_mnist",
        meaning="70,000 garments in 10 classes, grey 28x28 shown as three channels; fetched on its own",
        classes=10,
        needs_path=False,
        boxes=False,
        open=_fashion_mnist,
    ),
    Source(
        name="cifar10",
        meaning="60,000 photos in 10 classes, 32x32; fetched by torchvision, or --path to its batches or class folders",
        classes=10,
        needs_path=False,
        boxes=False,
        open=_cifar10,
    ),
    Source(
        name="imagenet",
        meaning="ILSVRC-2012: --path to train/ and val/ with one folder a class (torchvision's ImageNet layout)",
        classes=1000,
        needs_path=True,
        boxes=False,
        open=_folder,
    ),
    Source(
        name="imagenet_boxes",
        meaning="the images of ILSVRC-2012 with CLS-LOC boxes: --path to the ILSVRC folder, first box of each image",
        classes=1000,
        needs_path=True,
        boxes=True,
        open=_imagenet_boxes,
    ),
    Source(
        name="folder",
        meaning="your own images: --path to train/ and val/ with one folder a class",
        classes=None,
        needs_path=True,
        boxes=False,
        open=_folder,
    ),
    Source(
        name="boxes",
        meaning="a garment of fashion_mnist on a canvas of 56x56 at a known box, for networks with a box head",
        classes=10,
        needs_path=False,
        boxes=True,
        open=_boxes,
    ),
    Source(
        name="synthetic",
        meaning="coloured discs on noise, made in memory from a seed; no files, for tests and timing",
        classes=10,
        needs_path=False,
        boxes=False,
        open=_synthetic,
    ),
)
SOURCES = {source.name: source for source in _ROWS}
