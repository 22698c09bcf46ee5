"""The second pass over a data set: images as they are stored, and the PNG files for where there is
no FFCV.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.augment.boxes import box_in_centre_square
from harness.data.prepare.contents import names_below_root
from harness.data.prepare.manifest import Listing, disk_errors, printable
from harness.data.progress import Progress
from harness.data.resize import DECODE_ERRORS, Picture, resize_and_centre_crop
from harness.data.sources.base import ImageDataset
from harness.errors import DataError


class StoredImage:
    """Image i as it is stored: pixels, label, and its box in the stored image.

    Can be sent to writer processes.
    """

    def __init__(self, split: ImageDataset, side: int) -> None:
        self.split, self.side = split, side

    def __call__(self, index: int) -> tuple[NDArray[np.uint8], int, NDArray[np.float32] | None]:
        image = self.split.item(index)
        return (
            resize_and_centre_crop(image, self.side),
            int(self.split.labels[index]),
            box_of(self.split, index, image),
        )


def box_of(split: ImageDataset, index: int, image: Picture) -> NDArray[np.float32] | None:
    """The box of image `index` as fractions of the stored image, (4,), or None for a split without
    boxes.
    """
    if split.boxes is None:
        return None
    size = image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])
    return _stored_box(split.boxes[index], size)


def _stored_box(box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.array(box_in_centre_square(tuple(box.tolist()), *size), dtype=np.float32)


def stored_listing(split: ImageDataset, what: str, progress: Progress) -> Listing:
    """The split as the folder loader reads it: names below its folder, boxes as fractions of the
    stored image.
    """
    numbers = range(len(split))
    names = (
        [_png_name(split, index) for index in numbers]
        if split.root is None
        else names_below_root(split)
    )
    return Listing(names=names, labels=split.labels, boxes=_stored_boxes(split, what, progress))


def _stored_boxes(split: ImageDataset, what: str, progress: Progress) -> NDArray[np.float32] | None:
    if split.boxes is None:
        return None
    stored = np.empty_like(split.boxes)
    for index, box in enumerate(split.boxes):
        try:
            stored[index] = _stored_box(box, split.size(index))
        except DECODE_ERRORS as error:
            raise DataError(
                f"{printable(split.name(index))} was readable just now and is not any more ({error})"
            ) from error
        progress(f"reading {what} sizes", index + 1, len(split))
    return stored


def write_pngs(root: Path, split: ImageDataset, side: int, what: str, progress: Progress) -> None:
    """Stored images below `root` as PNG, which keeps every byte, in class folders; all of them or
    none.
    """
    item = StoredImage(split, side)
    try:
        with disk_errors(root):
            for label in range(len(split.classes)):
                (root / _class_folder(label)).mkdir(parents=True, exist_ok=True)
            for index in range(len(split)):
                Image.fromarray(item(index)[0]).save(root / _png_name(split, index), compress_level=1)
                progress(what, index + 1, len(split))
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def _class_folder(label: int) -> str:
    return f"{label:04d}"


def _png_name(split: ImageDataset, index: int) -> str:
    return f"{_class_folder(int(split.labels[index]))}/{index:07d}.png"
