"""What a prepared data set is, on disk: manifest.json, the listing of each split, and the care in writing both.

Everything is written to a temporary name and renamed. manifest.json comes last: where it is, the rest is whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, UsageError

FORMAT = 1  # of manifest.json and what lies beside it; another number is prepared anew
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Listing:
    """The images of one split in order: file names below the split's folder, labels (N,), boxes (N, 4) or None."""

    names: list[str]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32] | None

    def save(self, path: Path) -> None:
        """JSON lines [label, box, name]; ASCII only, so that any file name survives."""
        boxes = [None] * len(self.names) if self.boxes is None else [[float(v) for v in box] for box in self.boxes]
        rows = zip(self.labels.tolist(), boxes, self.names, strict=True)
        write_whole(path, lambda file: file.writelines(json.dumps(row).encode() + b"\n" for row in rows))

    @staticmethod
    def load(path: Path) -> Listing:
        with path.open("rb") as file:
            rows = [json.loads(line) for line in file]
        boxed = bool(rows) and rows[0][1] is not None
        return Listing(
            names=[row[2] for row in rows],
            labels=np.array([row[0] for row in rows], dtype=np.int64),
            boxes=np.array([row[1] for row in rows], dtype=np.float32) if boxed else None,
        )


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that is there whole or not at all. A full disk raises DataError and leaves nothing behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_told(path), temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Turn a disk that is full or may not be written to into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = "the disk is full; free some space or point HARNESS_CACHE to another disk"
        elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            why = "this folder can't be written to; point HARNESS_CACHE to one that can"
        else:
            raise
        raise DataError(f"could not write {path}: {why}") from error


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder` against other processes, waiting for it; freed when a process ends, however it ends.

    Raises UsageError where the parent process holds it, which would be a wait for ever: writer processes import the
    main module anew, and one without a guard prepares the data again.
    """
    with full_disk_told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder.with_name(folder.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(handle)
        _sweep(folder)
        yield
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of a process that was killed; under the lock no living one has any."""
    for pattern in (".*.partial", ".*.tmp"):
        for left in folder.glob(pattern):
            left.unlink()


def _lock(handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if os.pread(handle, 20, 0) == str(os.getppid()).encode():
            raise UsageError(
                "this script prepares data when it is imported, which its own writer processes do; "
                "put the call under: if __name__ == '__main__':"
            ) from None
        fcntl.flock(handle, fcntl.LOCK_EX)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)


def fingerprint(path: Path) -> str:
    """sha256 over a file's size, first and last MiB: enough to know our own file again, cheap for 200 GB."""
    mib = 1 << 20
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        found.update(file.read(mib))
        file.seek(max(size - mib, 0))
        found.update(file.read(mib))
    return found.hexdigest()


def save_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write manifest.json, whole, with the present format number."""
    text = json.dumps({"format": FORMAT, **manifest}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
    write_whole(folder / MANIFEST, lambda file: file.write(text.encode()))


def load_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a whole preparation, or None where it is missing, torn, of another format, or a file changed."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            return None
        whole = all(fingerprint(folder / name) == known for name, known in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(manifest) if whole else None


def versions() -> dict[str, str]:
    """Of everything that touches the bytes."""
    found = {"python": platform.python_version()}
    for package in ("alexnet-harness", "numpy", "pillow", "ffcv"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
