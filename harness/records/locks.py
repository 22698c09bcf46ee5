"""One process a run: locks that end with their process, and SIGTERM as an exception so that a run can be sealed."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from harness.errors import AlreadyRunning
from harness.records.files import writing

AGAIN_S = 0.005


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where the main thread is: to a run it is the same as Ctrl-C."""


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    # a process group's and a parent's both arrive: the second must not break off the sealing
    signal.signal(number, signal.SIG_IGN)
    raise Terminated("SIGTERM")


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated within the block. Elsewhere than in the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook

    def send_again(dropped: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised in callbacks and finalisers, importlib's among them: let it come once more."""
        if not isinstance(dropped.exc_value, Terminated):
            hook(dropped)
            return
        signal.signal(signal.SIGTERM, _raise_terminated)
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()

    try:
        sys.unraisablehook = send_again
        signal.signal(signal.SIGTERM, _raise_terminated)
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


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
    with writing(path):
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
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
