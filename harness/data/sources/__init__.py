"""The data sets by name, one row each.

To add one: a file in this folder with its `open` function, and a row here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.progress import Progress
from harness.data.sources.base import DataSource, Splits
from harness.errors import UsageError, unknown
from variants.plugins import add_new, added

if TYPE_CHECKING:  # these load torch and pydantic, and a list of names should not
    from harness.data.base import Prepared
    from harness.data.prepare.manifest import StoreSettings


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


def _synthetic(settings: StoreSettings, progress: Progress) -> Prepared:
    from harness.data.loaders.synthetic import prepare_synthetic

    return prepare_synthetic(settings, progress)


def _given(path: Path | None) -> Path:
    if path is None:
        raise UsageError("this data set needs the folder of its images; add --path FOLDER")
    return path


_ROWS = (
    DataSource(
        name="fashion_mnist",
        description="70,000 garments in 10 classes, grey 28x28 shown as three channels; downloaded "
        "automatically",
        classes=10,
        open=_fashion_mnist,
    ),
    DataSource(
        name="cifar10",
        description="60,000 photos in 10 classes, 32x32; downloaded, or --path to its batches or class "
        "folders",
        classes=10,
        open=_cifar10,
    ),
    DataSource(
        name="imagenet",
        description="ILSVRC-2012: --path to train/ and val/ with one folder a class, or to Kaggle's "
        "folder as unpacked",
        classes=1000,
        needs_path=True,
        open=_folder,
    ),
    DataSource(
        name="imagenet_boxes",
        description="the images of ILSVRC-2012 with CLS-LOC boxes, the first of each image: --path to "
        "ILSVRC/",
        classes=1000,
        needs_path=True,
        boxes=True,
        open=_imagenet_boxes,
    ),
    DataSource(
        name="folder",
        description="your own images: --path to train/ and val/ (or test/) with one folder a class",
        classes=None,
        needs_path=True,
        open=_folder,
    ),
    DataSource(
        name="boxes",
        description="a garment of fashion_mnist on a canvas of 56x56 at a known box, for networks with "
        "a box head",
        classes=10,
        boxes=True,
        open=_boxes,
    ),
    DataSource(
        name="synthetic",
        description="coloured discs on noise, made in memory from a seed; no files, for tests and "
        "timing",
        classes=10,
        generate=_synthetic,
    ),
)


@cache
def sources() -> dict[str, DataSource]:
    """The data sets by name: the project's, then those that installed packages add.

    Raises SpecError.
    """
    found = {source.name: source for source in _ROWS}
    add_new(found, ((source.name, source) for source in added("data_sources", DataSource)), "data set")
    return found


def source_named(name: str) -> DataSource:
    """Raises UsageError with a suggestion."""
    if name not in sources():
        raise unknown("data set", name, sources(), "python -m harness data list")
    return sources()[name]
