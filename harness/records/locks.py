"""Locks that end with their process: one process for each run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import AlreadyRunning
from harness.records.files import writing


def _open(path: Path) -> int:
    with writing(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Waits for the lock. Held for moments only, while runs begin: see store.py."""
    handle = _open(path)
    try:
        with writing(path):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def take(path: Path) -> int:
    """The lock's file handle; closing it, or the process's end, frees the lock. Raises AlreadyRunning."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "another"
        os.close(handle)
        raise AlreadyRunning(
            f"the same run is going on in process {holder}; wait for it to end, or stop it with: kill {holder}"
        ) from None
    try:
        with writing(path):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
    except BaseException:  # a full disk: without this the lock would be held until the process ends
        os.close(handle)
        raise
    return handle


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; call it under `guarded` only, since it takes the lock for a moment."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
