"""Atomic file writes and file locks that end with their process, for all modules.

OSErrors are not caught here; each caller turns them into its own error with a sentence.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write in the block: it has a temporary name, and is renamed to `path` after fsync at
    the end.

    After an exception in the block the old file is unchanged. A reader never sees a partial file. A
    killed process leaves its temporary file behind; `remove_temporary_files` removes it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` by `atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


def remove_temporary_files(folder: Path) -> None:
    """Remove temporary files of killed processes from `folder`.

    Call it under the lock that its writers hold.
    """
    for pattern in (".*.tmp", ".*.partial"):  # .partial: .beton files of version 0.1.0
        for left in folder.glob(pattern):
            left.unlink()


class LockHeldError(Exception):
    """Another process holds the lock. `holder` is its process id, or "" where it wrote none."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def take_lock(path: Path, *, wait: bool) -> int:
    """The file handle that holds the lock `path`; closing it frees the lock, and so does the end of the
    process.

    The file is made where it is missing, and holds the process id of the last holder. wait=False raises
    LockHeldError where another has the lock. A child process does not inherit the lock.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # on a full disk the lock works, too, but without the holder's process id
        with suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        os.close(handle)
        raise LockHeldError(holder) from None
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock `path` during the block, waiting for it."""
    handle = take_lock(path, wait=True)
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def not_locked_by_others(path: Path) -> Iterator[None]:
    """Keep others from taking the lock `path` during the block, after waiting for its holder. This
    writes nothing.

    A lock file that is missing is not made, and then nothing is waited for.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a running process holds the lock.

    This writes nothing; OSError where the file can't be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
