"""Your own images, and ImageNet: train/ and val/ with one folder a class, read as torchvision's
ImageFolder reads them.

Classes are the sorted names of train's folders, images are sorted by path. Files whose suffix is none
of IMAGE_SUFFIXES are ignored and counted. A val/ without class folders is read where labels are found
beside it (see val_labels.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.progress import Progress
from harness.data.resize import decode_rgb, image_size, open_rgb, regular_file
from harness.data.sources.layouts import (
    IMAGE_SUFFIXES,
    child,
    find_root,
    flat_images,
    is_flat,
    is_image,
    list_folder,
    refuse_archives,
    size_of,
    unreadable,
)
from harness.data.sources.val_labels import find_labels, how_to_sort, labels_for
from harness.errors import DataError


class ImageFiles:
    """Images in files below `root`; see sources.base.ImageDataset. sizes: of the files, in bytes.

    names: CLASS/FILE, which the listing is made of. paths: where the files are below `root`, where that
    differs.
    """

    contents = ""

    def __init__(
        self,
        root: Path,
        classes: tuple[str, ...],
        names: list[str],
        labels: NDArray[np.int64],
        sizes: Iterable[int],
        boxes: NDArray[np.float32] | None = None,
        ignored: int = 0,
        paths: list[str] | None = None,
    ) -> None:
        self.root: Path | None = root
        self.classes, self.names, self.labels, self.boxes, self.ignored = (
            classes,
            names,
            labels,
            boxes,
            ignored,
        )
        self.sizes, self.paths = list(sizes), names if paths is None else paths
        rows = (f"{n}\0{k}\0{s}\n" for n, k, s in zip(names, labels.tolist(), self.sizes, strict=True))
        listed = hashlib.sha256("".join(rows).encode(errors="surrogateescape"))
        listed.update("\0".join(classes).encode(errors="surrogateescape"))
        listed.update(b"" if boxes is None else boxes.tobytes())
        self.listing = listed.hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return str(self._path(index))

    def size(self, index: int) -> tuple[int, int]:
        return image_size(self._path(index))

    def item(self, index: int) -> Image.Image:
        return open_rgb(self._path(index))

    def item_and_digest(self, index: int) -> tuple[Image.Image, bytes]:
        with regular_file(self._path(index)) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
            return decode_rgb(file), digest

    def _path(self, index: int) -> Path:
        assert self.root is not None
        return self.root / self.paths[index]


def open_class_folders(
    path: Path, progress: Progress, val_names: tuple[str, ...] = ("val", "test")
) -> tuple[ImageFiles, ImageFiles]:
    """The two splits below `path`; the second is the first of `val_names` that is there.

    Raises DataError in one sentence for all that is missing or doesn't fit.
    """
    root = find_root(path, val_names)
    train = _split(child(root, ("train",), val_names), None, progress)
    folder = child(root, val_names, val_names)
    if is_flat(folder):
        return train, _flat_split(folder, train.classes, progress)
    return train, _split(folder, train.classes, progress)


def _flat_split(folder: Path, classes: tuple[str, ...], progress: Progress) -> ImageFiles:
    """Read as if the files were sorted into class folders, so that the listing is the same as of
    sorted ones.
    """
    place = find_labels(folder)
    if place is None:
        raise DataError(f"{folder} holds images that are not in class folders; {how_to_sort(folder)}")
    images, ignored = flat_images(folder)
    progress(f"listing {folder.name} images", len(images), None)
    labels = labels_for([path for path, _ in images], place)
    known = {name: label for label, name in enumerate(classes)}
    if strange := sorted(set(labels.values()) - set(known)):
        raise DataError(
            f"{place} names a class '{strange[0]}' that train/ lacks; the two need the same classes"
        )
    rows = sorted((labels[path], Path(path).name, path, size) for path, size in images)
    return ImageFiles(
        folder,
        classes,
        [f"{name}/{file}" for name, file, _, _ in rows],
        np.array([known[name] for name, _, _, _ in rows], dtype=np.int64),
        [size for _, _, _, size in rows],
        ignored=ignored,
        paths=[path for _, _, path, _ in rows],
    )


def _split(root: Path, classes: tuple[str, ...] | None, progress: Progress) -> ImageFiles:
    """`classes`: those of the training set, which the validation set may not exceed; None for the
    training set.
    """
    found = _class_folders(root)
    if classes is not None and (strange := [name for name in found if name not in classes]):
        raise DataError(
            f"{root} has a class '{strange[0]}' that train/ lacks ({len(strange)} of {len(found)} "
            "classes are so); the two need the same class folders"
        )
    known = {name: label for label, name in enumerate(classes or found)}
    names, labels, sizes = list[str](), list[int](), list[int]()
    ignored = 0
    for name in found:
        files, others = _files(root / name)
        if classes is None and not files:
            raise DataError(
                f"{root / name} holds no images{_seen(others)}; fill it, or remove the folder"
            )
        names += [f"{name}/{file}" for file, _ in files]
        sizes += [size for _, size in files]
        labels += [known[name]] * len(files)
        ignored += others
        progress(f"listing {root.name} images", len(names), None)
    if not names:
        raise DataError(
            f"{root} holds no images{_seen(ignored)}; it needs one folder a class with images in it"
        )
    return ImageFiles(
        root, tuple(known), names, np.array(labels, dtype=np.int64), sizes, ignored=ignored
    )


def _seen(others: int) -> str:
    return f" ({others} files that end in none of {' '.join(IMAGE_SUFFIXES)})" if others else ""


def _class_folders(root: Path) -> list[str]:
    entries = list_folder(root)
    found = sorted(entry.name for entry in entries if entry.is_dir())
    if not found:
        refuse_archives(root, [entry.name for entry in entries])
        what = (
            "images, but not in class folders"
            if any(is_image(entry.name) for entry in entries)
            else "no images"
        )
        raise DataError(f"{root} holds {what}; it needs one folder a class with images in it")
    return found


def _files(folder: Path) -> tuple[list[tuple[str, int]], int]:
    """Images below `folder` with their sizes, in ImageFolder's order; how many files are none.

    Hidden ones left out.
    """
    found, others = list[tuple[str, int]](), 0
    for place, _, files in sorted(os.walk(folder, followlinks=True, onerror=unreadable)):
        below = os.path.relpath(place, folder)
        for file in sorted(files):
            if file.startswith("."):
                continue
            if not is_image(file):
                others += 1
                continue
            size = size_of(os.path.join(place, file))  # noqa: PTH118  # a million times: Path is slow
            found.append((file if below == "." else f"{below}/{file}", size))
    return found, others
