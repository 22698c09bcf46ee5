"""Files as records need them: whole when written, bounded and plain when read, every error one
sentence.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.errors import RecordError
from harness.files import write_atomically

SUMS = "SHA256SUMS"
CHUNK = 1 << 20
FULL = "free some disk space, or use a results folder that you may write to"
LOST = (errno.ENOENT, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)
GONE = "its folder was removed, or its disk is gone; bring it back, and repeat the command"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the file system refuses (full disk, read-only folder) into one sentence."""
    try:
        yield
    except OSError as error:
        way_out = GONE if error.errno in LOST else FULL
        raise RecordError(f"can't write {path}: {error.strerror or error}; {way_out}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """The same for what it refuses to give."""
    try:
        yield
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror or error}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file of a record by harness.files.write_atomically. Raises RecordError."""
    with writing(path):
        write_atomically(path, content)


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """A plain file for reading, no link and no device: records may come from others."""
    with reading(path):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise RecordError(f"{path} is not a plain file; a record holds nothing else")
            yield file


def read_whole(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a plain file."""
    with open_plain(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise RecordError(
            f"{path} is larger than the {limit} bytes that a record's file of this kind may have"
        )
    return content


def sha256_of(path: Path) -> str:
    """The file's checksum in hex."""
    total = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def sync(path: Path) -> None:
    """fsync of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sums_text(folder: Path) -> str:
    """The lines of SHA256SUMS, as sha256sum writes and checks them, over every other file of the
    folder.
    """
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)


def parse_sums(text: str) -> dict[str, str]:
    """File name -> sha256 in hex.

    Raises RecordError on a line that sha256sum would not have written.
    """
    sums = {}
    for line in text.splitlines():
        total, gap, name = line.partition("  ")
        if not gap or len(total) != 64 or "/" in name or not name:
            raise RecordError(f"{SUMS}: '{line[:80]}' is not a checksum line")
        sums[name] = total
    return sums


def reserve(path: Path, size: int) -> None:
    """A file that holds `size` bytes of the disk until it is removed.

    Raises RecordError where there is no room.
    """
    with writing(path), path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", errno.EOPNOTSUPP) not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            file.write(bytes(size))


def drop_torn_line(path: Path) -> None:
    """Cuts what comes after the last line's end: the line a killed process was writing.

    A file without a torn line is only read: it may be read-only already, which stops everybody but
    root.
    """
    with reading(path), path.open("rb") as file:
        size, whole = file.seek(0, os.SEEK_END), _end_of_last_line(file)
    if whole < size:
        with writing(path), path.open("r+b") as file:
            file.truncate(whole)


def _end_of_last_line(file: BinaryIO) -> int:
    """The place after the last newline; 0 where there is none."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - CHUNK)
        file.seek(start)
        at = file.read(position - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        position = start
    return 0


def make_read_only(paths: Iterable[Path]) -> None:
    """Drops the write bits, against edits by mistake; a folder keeps its own so that its owner can
    still remove it.
    """
    for path in paths:
        with suppress(OSError):  # some file systems have no modes
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
