"""The data sets by name, one row each. To add one: a file beside these with its `open` function, and a row here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.sources.base import Source, Splits
from harness.errors import DataError, UsageError, unknown

if TYPE_CHECKING:  # base loads torch, and a list of names should not
    from harness.data.base import Progress


def _fashion_mnist(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources.fashion_mnist import open_fashion_mnist

    return open_fashion_mnist(path, cache, progress)


def _boxes(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources.composed import open_composed
    from harness.data.sources.fashion_mnist import open_fashion_mnist

    train, val = open_fashion_mnist(path, cache, progress)
    return open_composed(train, val)


def _cifar10(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources.cifar10 import open_cifar10

    return open_cifar10(path, cache, progress)


def _folder(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources.class_folders import open_class_folders

    return open_class_folders(_given(path), progress)


def _imagenet_boxes(path: Path | None, cache: Path, progress: Progress) -> Splits:
    from harness.data.sources.ilsvrc_boxes import open_located

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


def source_named(name: str) -> Source:
    """Raises UsageError with a suggestion."""
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES, "python -m harness data list")
    return SOURCES[name]
