"""Reads the classes of validation images that are not in class folders from the files published with
them.

ILSVRC-2012's val archive unpacks to 50,000 images in one folder. Their classes are in Kaggle's
LOC_val_solution.csv, in the XML files of Annotations/CLS-LOC/val, and in the development kit.
Tiny-ImageNet has val_annotations.txt.
"""

from __future__ import annotations

import csv
import io
import shlex
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from harness.data.sources.annotations import read_annotation
from harness.data.sources.layouts import DEVKIT, flat_images
from harness.errors import DataError

KINDS = f"LOC_val_solution.csv, Annotations/CLS-LOC/val or {DEVKIT}"
GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    zlib.error,
    csv.Error,
    tarfile.TarError,
    DataError,
)


def find_labels(folder: Path) -> Path | None:
    """The file or folder beside `folder` (val/) that says the classes of its images, in the usual
    layouts.
    """
    places = [folder / "val_annotations.txt"]
    # the last takes seconds: 50,000 files
    for name in ("LOC_val_solution.csv", DEVKIT, "Annotations/CLS-LOC/val"):
        # Kaggle: val/ is four folders below the csv
        places += [above / name for above in list(folder.parents)[:4]]
    return next((place for place in places if place.exists()), None)


def how_to_sort(folder: Path) -> str:
    """The command that sorts `folder`, as the end of a sentence."""
    command = f"python -m harness data sort {shlex.quote(str(folder))} --labels LABELS"
    return f"sort them with: {command}, where LABELS is {KINDS}, or a CSV file of image,class"


def labels_for(paths: Sequence[str], place: Path) -> dict[str, str]:
    """The class (folder name) of each image.

    Raises DataError where `place` can't be read or lacks an image.
    """
    try:
        known = _read(place, paths)
    except DAMAGED as error:
        raise DataError(f"{place} gives no classes of images ({error}); use {KINDS}") from error
    found = {path: known.get(Path(path).stem) for path in paths}
    if lacking := [path for path, name in found.items() if name is None]:
        raise DataError(
            f"{place} has no class for {lacking[0]} ({len(lacking)} of {len(found)} images)"
        )
    return {path: name for path, name in found.items() if name is not None}


def sort_images(folder: Path, place: Path) -> tuple[int, int]:
    """Move the images of a flat folder into class folders; (images, classes).

    Nothing moves where one has no class.
    """
    root, place = folder.expanduser().absolute(), place.expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the one that holds the images to sort")
    images = [path for path, _ in flat_images(root)[0]]
    if not images:
        raise DataError(
            f"{root} holds no images that are not in class folders; there is nothing to sort"
        )
    classes = labels_for(images, place)
    for name in set(classes.values()):
        (root / name).mkdir(exist_ok=True)
    for path, name in classes.items():
        (root / path).rename(root / name / Path(path).name)
    return len(images), len(set(classes.values()))


def _read(place: Path, paths: Sequence[str]) -> dict[str, str]:
    """The class by image name without its suffix."""
    if place.is_dir() and (place / GROUND_TRUTH).is_file():
        return _devkit((place / GROUND_TRUTH).read_bytes(), (place / "data/meta.mat").read_bytes())
    if place.is_dir():
        return {Path(path).stem: _annotated_class(place / f"{Path(path).stem}.xml") for path in paths}
    if place.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _devkit(*_members(place, (GROUND_TRUTH, "data/meta.mat")))
    delimiter = "\t" if place.suffix == ".txt" else ","
    with place.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter=delimiter) if len(row) >= 2]
    # LOC_val_solution.csv has "n01751748 111 108 230 396 ..." in its second column: the class is its
    # first word.
    return {Path(row[0]).stem: _class_name(row[1].split()[0]) for row in rows if row[1].strip()}


def _class_name(name: str) -> str:
    if "/" in name or name in (".", ".."):
        raise ValueError(f"a class named {name!r}")
    return name


def _annotated_class(file: Path) -> str:
    """The class of the first object of a CLS-LOC annotation."""
    name = read_annotation(file).findtext("object/name", "")
    if not name:
        raise ValueError(f"{file.name} names no object")
    return _class_name(name)


def _members(archive: Path, wanted: Sequence[str]) -> list[bytes]:
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            for name in wanted:
                if member.name.endswith(name) and (file := tar.extractfile(member)) is not None:
                    found[name] = file.read()
    return [found[name] for name in wanted]


def _devkit(ground_truth: bytes, meta: bytes) -> dict[str, str]:
    """Line i of the ground truth is the id of image i's class; meta.mat has the WordNet id of each."""
    from scipy.io import loadmat

    try:
        # files work, too
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]  # type: ignore[arg-type]
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except Exception as error:  # scipy raises many kinds for damaged files, some of its own
        raise ValueError(f"meta.mat is damaged: {error}") from error
    lines = ground_truth.decode().split()
    return {
        f"ILSVRC2012_val_{i:08d}": _class_name(names[int(line)])
        for i, line in enumerate(lines, start=1)
    }
