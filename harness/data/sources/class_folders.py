"""Your own images, and ImageNet: train/ and val/ with one folder a class, read as torchvision's ImageFolder reads them.

Classes are the sorted names of train's folders, pictures are sorted by path. Every file counts as a picture, whatever
its name ends in, except hidden ones: what doesn't decode is told, not passed over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.base import Progress
from harness.data.resize import open_rgb
from harness.errors import DataError


class FileSplit:
    """Pictures in files below `root`; see sources.SourceSplit. sizes: of the files, in bytes."""

    def __init__(
        self,
        root: Path,
        classes: tuple[str, ...],
        names: list[str],
        labels: NDArray[np.int64],
        sizes: Iterable[int],
        boxes: NDArray[np.float32] | None = None,
    ) -> None:
        self.root: Path | None = root
        self.classes, self.names, self.labels, self.boxes = classes, names, labels, boxes
        rows = (f"{n}\0{k}\0{s}\n" for n, k, s in zip(names, labels.tolist(), sizes, strict=True))
        listed = hashlib.sha256("".join(rows).encode(errors="surrogateescape"))
        listed.update("\0".join(classes).encode(errors="surrogateescape"))
        listed.update(b"" if boxes is None else boxes.tobytes())
        self.listing = listed.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return str(self._path(index))

    def item(self, index: int) -> Image.Image:
        return open_rgb(self._path(index))

    def _path(self, index: int) -> Path:
        assert self.root is not None
        return self.root / self.names[index]


def open_class_folders(
    path: Path, progress: Progress, val_names: tuple[str, ...] = ("val",)
) -> tuple[FileSplit, FileSplit]:
    """The two splits below `path`. Raises DataError in one sentence for all that isn't there or doesn't fit."""
    root = path.expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the one that holds train/ and val/ with --path")
    train = _split(_child(root, ("train",)), None, progress)
    return train, _split(_child(root, val_names), train.classes, progress)


def _child(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root} has no folder {names[0]}/; it needs train/ and {names[0]}/, each with one folder a class")


def _split(root: Path, classes: tuple[str, ...] | None, progress: Progress) -> FileSplit:
    """`classes`: those of the training set, which the validation set may not exceed; None for the training set."""
    found = _class_folders(root)
    if classes is not None and (strange := [name for name in found if name not in classes]):
        raise DataError(
            f"{root} has a class '{strange[0]}' that train/ lacks ({len(strange)} of {len(found)} classes are so); "
            "the two need the same class folders"
        )
    known = classes or tuple(found)
    names: list[str] = []
    labels: list[int] = []
    sizes: list[int] = []
    for name in found:
        files, label = _files(root / name), known.index(name)
        if classes is None and not files:
            raise DataError(f"{root / name} holds no images; fill it, or remove the folder")
        names += [f"{name}/{file}" for file, _ in files]
        sizes += [size for _, size in files]
        labels += [label] * len(files)
        progress(f"listing {root.name} images", len(names), None)
    if not names:
        raise DataError(f"{root} holds no images; it needs one folder a class with images in it")
    return FileSplit(root, known, names, np.array(labels, dtype=np.int64), sizes)


def _class_folders(root: Path) -> list[str]:
    try:
        entries = [entry for entry in os.scandir(root) if not entry.name.startswith(".")]
    except OSError as error:
        _unreadable(error)
    found = sorted(entry.name for entry in entries if entry.is_dir())
    if not found:
        flat = "images, but not in class folders" if entries else "no images"
        raise DataError(f"{root} holds {flat}; it needs one folder a class with images in it")
    return found


def _files(folder: Path) -> list[tuple[str, int]]:
    """Files below `folder` with their sizes, in ImageFolder's order; hidden ones are left out."""
    found = []
    for place, _, files in sorted(os.walk(folder, followlinks=True, onerror=_unreadable)):
        below = os.path.relpath(place, folder)
        for file in sorted(files):
            if not file.startswith("."):
                size = os.stat(os.path.join(place, file)).st_size  # noqa: PTH116, PTH118  # a million times: Path is slow
                found.append((file if below == "." else f"{below}/{file}", size))
    return found


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} can't be read ({(error.strerror or 'no reason given').lower()})") from error
