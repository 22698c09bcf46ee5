"""What a prepared data set is, on disk: manifest.json, the listing of each split, and the care in
writing both.

Everything is written atomically. manifest.json comes last: where it is, the rest is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.names import Split, StoreFormat
from harness.errors import DataError, RecordError, UsageError
from harness.files import LockHeldError, atomic_file, remove_temporary_files, take_lock
from harness.serialization import from_json, to_plain
from harness.spec import DataSpec
from variants.values import value

# of manifest.json; formats 1 and 2 are read, too. Since 3 it has a checksum, and later ones will.
FORMAT = 3
MANIFEST = "manifest.json"
STATISTICS = "statistics.npz"
LOADER_FILES = {"ffcv": ("train.beton", "val.beton"), "folder": ("train.jsonl", "val.jsonl")}
RESIZE = "short side to store_size, PIL bilinear, then the central square"


@value
class StoreSettings:
    """How images are stored; part of what names the folder in the cache.

    store_size: side of the stored image in pixels. jpeg_quality: 1-95, None for raw.
    limit: only so many training and validation images, balanced by class; None for all.
    """

    store_size: int
    store_format: StoreFormat = "raw"
    jpeg_quality: int | None = None
    limit: tuple[int, int] | None = None


@value
class Origin:
    """Where the images came from: a row of `data list`, the folder given with --path, and what they are
    in words.

    contents: only where the name alone does not say it, such as "CIFAR-10, JPEG re-encoded".
    """

    name: str
    path: str | None = None
    contents: str = ""


@value
class BadImage:
    """A file that can't be read as an image: its number in the split, its name, and the decoder's
    words.
    """

    index: int
    name: str
    reason: str


@value
class Manifest:
    """What manifest.json says. Read strictly; `load_manifest` reads formats 1 and 2, too.

    digest_of: what spec.listing covers: "listing" is ImageDataset.listing alone (names, labels and
    sizes of files, or pixels), as in formats 1 and 2; with "listing and contents" it covers every byte
    of the files.
    stamps: of the source's files that were read, by split, see contents.source_stamp; empty where it
    has no files.
    classes: names by label. counts: images of each class by split. skipped: unreadable images that were
    left out with --skip-bad-images. ignored: files left out by their suffix. roots: the folder loader's
    images by split, relative to the manifest's folder or absolute. loaders: those this folder is ready
    for.
    files: fingerprints by name, see `fingerprint`. versions: of everything that touches the bytes.
    """

    format: int = FORMAT
    source: Origin
    spec: DataSpec
    settings: StoreSettings
    classes: tuple[str, ...]
    counts: dict[Split, dict[str, int]]
    skipped: dict[Split, tuple[BadImage, ...]]
    ignored: dict[Split, int]
    resize: str = RESIZE
    digest_of: Literal["listing", "listing and contents"] = "listing"
    stamps: dict[Split, str] = field(default_factory=dict)
    roots: dict[Split, str]
    loaders: tuple[str, ...]
    files: dict[str, str]
    versions: dict[str, str]

    @property
    def left_out(self) -> int:
        """How many images were left out because they can't be read."""
        return sum(len(bad) for bad in self.skipped.values())


@dataclass(frozen=True)
class Listing:
    """The images of one split in order: file names below the split's folder, labels (N,), boxes (N,
    4) or None.
    """

    names: list[str]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32] | None

    def save(self, path: Path) -> None:
        """JSON lines [label, box, name]; ASCII only, so that any file name survives."""
        boxes = (
            [None] * len(self.names)
            if self.boxes is None
            else [[float(v) for v in box] for box in self.boxes]
        )
        rows = zip(self.labels.tolist(), boxes, self.names, strict=True)
        with data_file(path) as file:
            file.writelines(json.dumps(row).encode() + b"\n" for row in rows)

    @staticmethod
    def load(path: Path) -> Listing:
        """Raises DataError where the file is not such a listing."""
        try:
            with path.open("rb") as file:
                rows = [json.loads(line) for line in file]
            boxed = bool(rows) and rows[0][1] is not None
            return Listing(
                names=[str(row[2]) for row in rows],
                labels=np.array([row[0] for row in rows], dtype=np.int64),
                boxes=np.array([row[1] for row in rows], dtype=np.float32) if boxed else None,
            )
        except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise DataError(
                f"{path} is damaged; remove {path.parent} and prepare the data set again"
            ) from error


@contextlib.contextmanager
def data_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is there whole or not at all.

    A full disk raises DataError and leaves nothing behind.
    """
    with disk_errors(path), atomic_file(path) as file:
        yield file


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a disk that is full, read-only or failing into a DataError of one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk is full; free some space or point HARNESS_CACHE to another disk"
        elif error.errno in (errno.EIO, errno.ESTALE, errno.ENODEV):
            why = f"the disk fails ({error.strerror}); point HARNESS_CACHE to another one"
        elif error.errno == errno.EFBIG:
            why = "files may not be so large here (see ulimit -f); point HARNESS_CACHE to another disk"
        elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            why = "this folder can't be written to; point HARNESS_CACHE to one that can"
        else:
            raise
        raise DataError(f"could not write {path}: {why}") from error


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` against other processes, waiting for it; freed when a process ends,
    however it ends.

    Raises UsageError where the parent process holds it, since that wait would never end: writer
    processes import the main module anew, and one without a guard prepares the data again.
    """
    lock = folder.with_name(folder.name + ".lock")
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = take_lock(lock, wait=False)
        except LockHeldError as held:
            if held.holder == str(os.getppid()):
                raise UsageError(
                    "this script prepares data when it is imported, which its own writer processes do; "
                    "put the call under: if __name__ == '__main__':"
                ) from None
            handle = take_lock(lock, wait=True)
    try:
        remove_temporary_files(folder)
        yield
    finally:
        os.close(handle)


def fingerprint(path: Path) -> str:
    """sha256 over a file's size, first and last MiB: enough to know our own file again, cheap for
    200 GB.
    """
    mib = 1 << 20
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        found.update(file.read(mib))
        file.seek(max(size - mib, 0))
        found.update(file.read(mib))
    return found.hexdigest()


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json, whole, with a checksum of all that it says."""
    plain = to_plain(manifest)
    text = (
        json.dumps(plain | {"checksum": _checksum(plain)}, indent=1, sort_keys=True, ensure_ascii=True)
        + "\n"
    )
    with data_file(folder / MANIFEST) as file:
        file.write(text.encode())


def load_manifest(folder: Path) -> Manifest | None:
    """The manifest of a whole preparation, or None where it is missing, torn or foreign, or a file
    changed.

    Raises DataError where a later version of this program wrote it: that is not ours to write over.
    """
    try:
        manifest = from_json((folder / MANIFEST).read_bytes(), Manifest, _to_present_format)
        whole = _is_consistent(manifest) and all(
            fingerprint(folder / name) == known for name, known in manifest.files.items()
        )
    except (OSError, RecordError):
        return None
    return manifest if whole else None


def _checksum(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_consistent(manifest: Manifest) -> bool:
    """Whether it names the files that its loaders need, all in its folder, and has both splits and
    every class.
    """
    if not set(manifest.loaders) <= set(LOADER_FILES):
        return False
    needed = {STATISTICS, *(name for loader in manifest.loaders for name in LOADER_FILES[loader])}
    by_split = [list(manifest.counts), list(manifest.skipped), list(manifest.ignored)]
    by_split += [list(manifest.roots)] if "folder" in manifest.loaders else []
    return (
        needed <= set(manifest.files)
        and not any("/" in name or "\0" in name for name in manifest.files)
        and all(set(table) == {"train", "val"} for table in by_split)
        and len(manifest.classes) == manifest.spec.classes
    )


def _to_present_format(plain: dict[str, Any]) -> dict[str, Any]:
    """The JSON of any known format as FORMAT's, without its checksum.

    Raises ValueError where that is wrong.
    """
    if plain["format"] in (1, 2):
        plain = _from_format_1(plain) if plain["format"] == 1 else plain
        return plain | {"format": FORMAT, "digest_of": "listing", "stamps": {}}
    if plain.pop("checksum", None) != _checksum(plain):
        raise ValueError("its checksum is wrong")
    if plain["format"] > FORMAT:
        raise DataError(
            f"the prepared data has format {plain['format']}, and this version reads up to {FORMAT}; "
            "update this program, or point HARNESS_CACHE to another folder"
        )
    if plain["format"] != FORMAT:
        raise ValueError(f"there never was a format {plain['format']}")
    return plain


def _from_format_1(plain: dict[str, Any]) -> dict[str, Any]:
    """As format 2.

    Format 1 had skipped files in one list with a split in each row, no ignored files, raw names.
    """
    skipped: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    for row in plain["skipped"]:
        bad = {"index": row["index"], "name": printable(row["name"]), "reason": row["reason"]}
        skipped[row["split"]].append(bad)
    return plain | {
        "format": 2,
        "classes": [printable(name) for name in plain["classes"]],
        "counts": {
            split: {printable(name): count for name, count in counts.items()}
            for split, counts in plain["counts"].items()
        },
        "skipped": skipped,
        "ignored": {"train": 0, "val": 0},
    }


def printable(name: str) -> str:
    r"""A file name as text that JSON can hold: bytes that are not UTF-8 become \xNN."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def versions() -> dict[str, str]:
    """Of everything that touches the bytes."""
    found = {"python": platform.python_version()}
    for package in ("alexnet-harness", "numpy", "pillow", "ffcv"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
