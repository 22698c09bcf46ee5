"""Which bytes a source's files hold, and the quick check that they are still the ones that were
prepared.

The first pass hashes every file (see scan.py). Reopening can't read them all again: a stamp covers each
file's size and time of change, and the bytes of some.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from harness.data.resize import regular_file
from harness.data.sources.base import ImageDataset

SAMPLES, SAMPLE_BYTES = 32, 1 << 16  # files of which the stamp covers bytes, and how many


def source_stamp(root: Path, names: list[str]) -> str:
    """sha256 in hex over `root` and, of each file: name, size, time of change; of some files also their
    first bytes.

    3 s for a million files whose folders are in the cache of the file system.
    """
    stamp = hashlib.sha256(_bytes(f"{root}\n"))
    for name in names:
        stamp.update(_bytes(f"{name}\0{_size_and_time(root, name)}\n"))
    for place in range(0, len(names), max(1, len(names) // SAMPLES)):
        stamp.update(_first_bytes(root / names[place]))
    return stamp.hexdigest()


def names_below_root(split: ImageDataset) -> list[str]:
    """The split's files, by their paths below its folder."""
    start = len(str(split.root)) + 1
    return [split.name(index)[start:] for index in range(len(split))]


def newer_than(root: Path, names: Iterable[str], time_ns: int) -> bool:
    """Whether any of the files was changed after `time_ns`, or is not there."""
    times = (_size_and_time(root, name) for name in names)
    return any(found is None or found[1] > time_ns for found in times)


def _size_and_time(root: Path, name: str) -> tuple[int, int] | None:
    try:
        status = os.stat(f"{root}/{name}")  # noqa: PTH116  # a million times: Path is slow
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _first_bytes(path: Path) -> bytes:
    try:
        with regular_file(path) as file:
            return file.read(SAMPLE_BYTES)
    except (OSError, ValueError):
        return b"unreadable"


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
