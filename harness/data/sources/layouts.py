"""What is in a folder that a user names: where train/ and val/ are, which files are images, what is
still packed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.errors import DataError

# torchvision.datasets.folder.IMG_EXTENSIONS, in any case of letters
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Kaggle's "ImageNet Object Localization Challenge", as unpacked
KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
ZIPS, TARS = (".zip",), (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


def find_root(path: Path, val_names: Sequence[str]) -> Path:
    """The folder that holds train/: `path` itself, or the one in Kaggle's layout. Raises DataError."""
    root = path.expanduser().absolute()
    if root.is_file():
        raise DataError(
            _unpack(root)
            if is_archive(root.name)
            else f"{root} is a file; give the folder of the images"
        )
    wanted = _wanted(val_names)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give the one that holds {wanted} with --path")
    if (root / "train").is_dir():
        return root
    for below in KAGGLE:
        if (root / below / "train").is_dir():
            return root / below
    names = sorted(entry.name for entry in root.iterdir())
    if any(name.startswith("ILSVRC2012_img_") and is_archive(name) for name in names):
        raise DataError(_sort_ilsvrc(root, names))
    if not any((root / name).is_dir() for name in val_names):
        for name in names:
            if is_archive(name):
                raise DataError(_unpack(root / name))
    return root


def child(root: Path, names: Sequence[str], val_names: Sequence[str]) -> Path:
    """The first of `names` below `root`. Raises DataError that says what is missing."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    missing = " or ".join(f"{name}/" for name in names)
    raise DataError(
        f"{root} has no folder {missing}; it needs {_wanted(val_names)}, each with one folder a class"
    )


def refuse_archives(folder: Path, names: Sequence[str]) -> None:
    """ILSVRC's training tar holds a tar for each class.

    Raises DataError with the command that unpacks those.
    """
    archives = [name for name in names if name.endswith(".tar")]
    if archives:
        loop = 'for tar in *.tar; do mkdir -p "${tar%.tar}" && tar -xf "$tar" -C "${tar%.tar}"; done'
        raise DataError(
            f"{folder} holds {len(archives)} archives ({archives[0]}, ...) and no class folders; "
            f"unpack each into a folder of its own: cd {shlex.quote(str(folder))} && {loop}"
        )


def is_archive(name: str) -> bool:
    """By its suffix."""
    return name.lower().endswith(ZIPS + TARS)


def _wanted(val_names: Sequence[str]) -> str:
    first, *others = val_names
    return f"train/ and {first}/" + "".join(f" (or {name}/)" for name in others)


def _unpack(archive: Path) -> str:
    suffix = next(suffix for suffix in (*ZIPS, *TARS) if archive.name.lower().endswith(suffix))
    folder = archive.with_name(archive.name[: -len(suffix)])
    source, target = shlex.quote(str(archive)), shlex.quote(str(folder))
    command = f"unzip -q {source} -d {target}" if suffix in ZIPS else f"tar -xf {source} -C {target}"
    return (
        f"{archive} is an archive; unpack it with: mkdir -p {target} && {command}, and give the folder "
        "with --path"
    )


def _sort_ilsvrc(root: Path, names: Sequence[str]) -> str:
    """torchvision unpacks ILSVRC's archives and sorts val/; it needs all three."""
    needed = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", DEVKIT)
    if lacking := [name for name in needed if name not in names]:
        return (
            f"{root} holds ILSVRC-2012 as archives, without {' and '.join(lacking)}; torchvision needs "
            "all three"
        )
    code = (
        f"from torchvision.datasets import ImageNet as I; r = {str(root)!r}; I(r, 'train'); I(r, 'val')"
    )
    return (
        f"{root} holds ILSVRC-2012 as archives; unpack and sort them with: python -c "
        f"{shlex.quote(code)}"
    )


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """What is in the folder, except hidden files. Raises DataError."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        unreadable(error)


def is_image(name: str) -> bool:
    """By its suffix, as ImageFolder decides it."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_flat(folder: Path) -> bool:
    """Whether images are not in class folders: directly in `folder`, or in images/ as in
    Tiny-ImageNet's val/.
    """
    entries = list_folder(folder)
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if is_image(entry.name) and not entry.is_dir()]
    return (not folders and bool(files)) or (
        folders == ["images"] and (folder / "val_annotations.txt").is_file()
    )


def flat_images(folder: Path) -> tuple[list[tuple[str, int]], int]:
    """(path below `folder`, size in bytes) of each image of a flat folder, and how many other files
    were ignored.
    """
    below = "images/" if (folder / "images").is_dir() else ""
    others = (entry for entry in list_folder(folder / below) if not entry.is_dir())
    files = sorted(others, key=lambda entry: entry.name)
    images = [(f"{below}{entry.name}", size_of(entry.path)) for entry in files if is_image(entry.name)]
    return images, len(files) - len(images)


def size_of(path: str) -> int:
    """In bytes; 0 for a link that leads nowhere, which the first pass then names as an image that
    can't be read.
    """
    try:
        return os.stat(path).st_size  # noqa: PTH116  # a million times: Path is slow
    except OSError:
        return 0


def unreadable(error: OSError) -> NoReturn:
    """Raise a DataError that names the file."""
    raise DataError(
        f"{error.filename} can't be read ({(error.strerror or 'no reason given').lower()})"
    ) from error
