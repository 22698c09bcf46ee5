"""The images of ILSVRC-2012 that have CLS-LOC boxes: Data/CLS-LOC/{train,val} beside
Annotations/CLS-LOC/{train,val}.

About 544,000 training and all 50,000 validation images have them. A network here predicts one box, so
we use the first annotated object of the image's class; the challenge accepts a prediction that matches
any of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.data.augment.boxes import Box
from harness.data.progress import Progress
from harness.data.sources.annotations import read_annotation, unreadable_annotation
from harness.data.sources.class_folders import ImageFiles, open_class_folders
from harness.errors import DataError


def open_located(path: Path, progress: Progress) -> tuple[ImageFiles, ImageFiles]:
    """path: the ILSVRC folder.

    Validation images may be in class folders or not, and their XML files, too.
    """
    root = path.expanduser().absolute()
    notes = root / "Annotations" / "CLS-LOC"
    if not notes.is_dir():
        raise DataError(
            f"{root} has no Annotations/CLS-LOC; give the ILSVRC folder that has it, and Data/CLS-LOC"
        )
    train, val = open_class_folders(root / "Data" / "CLS-LOC", progress)
    return _located(train, notes / "train", progress), _located(val, notes / "val", progress)


def _located(split: ImageFiles, notes: Path, progress: Progress) -> ImageFiles:
    kept, boxes = [], []
    for index, name in enumerate(split.names):
        file = (notes / name).with_suffix(".xml")
        file = file if file.exists() else notes / file.name
        if file.exists():
            kept.append(index)
            boxes.append(read_box(file))
        if index % 1000 == 0:
            progress(f"reading {notes.name} boxes", index, len(split))
    if not kept:
        raise DataError(f"{notes} has no annotation for any image of {split.root}")
    assert split.root is not None
    names, paths = ([column[i] for i in kept] for column in (split.names, split.paths))
    sizes = [split.sizes[i] for i in kept]
    boxed = np.array(boxes, dtype=np.float32)
    labels = split.labels[kept]
    return ImageFiles(split.root, split.classes, names, labels, sizes, boxed, split.ignored, paths)


def read_box(file: Path) -> Box:
    """The first object's box as fractions of the image.

    Raises DataError for anything but such an annotation.
    """
    document = read_annotation(file)
    try:
        width, height = (float(document.findtext(f"size/{name}", "")) for name in ("width", "height"))
        left, top, right, bottom = (
            float(document.findtext(f"object/bndbox/{name}", ""))
            for name in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError as error:
        raise unreadable_annotation(file, error) from error
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise DataError(
            f"{file} has a box ({left:g}, {top:g}, {right:g}, {bottom:g}) outside of "
            f"{width:g}x{height:g}"
        )
    return (left / width, top / height, (right - left) / width, (bottom - top) / height)
