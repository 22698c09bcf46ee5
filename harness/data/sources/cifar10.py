"""CIFAR-10 (Krizhevsky 2009): torchvision's download, its "python batches" already on disk, or one
folder a class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.data.progress import Progress
from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import Splits
from harness.data.sources.class_folders import open_class_folders
from harness.errors import DataError
from harness.spec import CIFAR_10_JPEG, CIFAR_10_ORIGINAL

BATCHES = "cifar-10-batches-py"


def open_cifar10(path: Path | None, cache: Path, progress: Progress) -> Splits:
    """path: a folder with train/ and test/ (or val/), or with the batches; None downloads 170 MB
    once.
    """
    if path is None:
        progress("fetching CIFAR-10, 170 MB", 0, None)
        return _batches(cache / "downloads", download=True)
    root = path.expanduser().absolute()
    if root.name == BATCHES and root.is_dir():
        return _batches(root.parent, download=False)
    if (root / BATCHES).is_dir():
        return _batches(root, download=False)
    train, val = open_class_folders(root, progress, val_names=("test", "val"))
    for split in (train, val):
        split.contents = _class_folder_contents([*train.names, *val.names])
    return train, val


def _class_folder_contents(names: list[str]) -> str:
    """The contents of class folders.

    JPEG changes the pixels, so errors on such images are not errors on CIFAR-10.
    """
    if any(name.lower().endswith((".jpg", ".jpeg")) for name in names):
        return CIFAR_10_JPEG
    return "CIFAR-10 in class folders"


def _batches(root: Path, download: bool) -> Splits:
    """The batches are pickles, so torchvision checks their MD5 before it reads any."""
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(str(root), train=train, download=download) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"CIFAR-10 can't be read from {root} ({reason}); download it elsewhere and add --path "
            f"FOLDER, with {BATCHES}/ or with train/ and test/ in it"
        ) from error
    return (_split("train", parts[0]), _split("test", parts[1]))


def _split(what: str, part: object) -> ArraySplit:
    # torchvision has no types
    labels = np.array(part.targets, dtype=np.int64)  # type: ignore[attr-defined]
    return ArraySplit(f"CIFAR-10 {what}", part.data, labels, tuple(part.classes), CIFAR_10_ORIGINAL)  # type: ignore[attr-defined]
