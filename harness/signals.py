"""Signals: SIGTERM and SIGHUP as an exception, so that a run can be sealed, and children that leave Ctrl-C to us."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

RESEND_S = 0.005


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP (a lost terminal), raised where the main thread is: to a run it is the same as Ctrl-C."""


ENDING = (signal.SIGTERM, signal.SIGHUP)


def raise_terminated(number: int, frame: FrameType | None) -> None:
    """A signal handler that raises Terminated once."""
    # a process group's and a parent's both arrive: the second must not break off the sealing
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Terminated(signal.Signals(number).name)


def handle_ending() -> None:
    """Have both signals raise Terminated; one that this process ignores, as under nohup, stays ignored."""
    for ending in ENDING:
        if signal.getsignal(ending) != signal.SIG_IGN:
            signal.signal(ending, raise_terminated)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Terminated within the block. Elsewhere than in the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, hook = {ending: signal.getsignal(ending) for ending in ENDING}, sys.unraisablehook

    def send_again(dropped: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised in callbacks and finalisers, importlib's among them: let it come once more."""
        if not isinstance(dropped.exc_value, Terminated):
            hook(dropped)
            return
        signal.signal(signal.SIGTERM, raise_terminated)
        again = threading.Timer(RESEND_S, os.kill, (os.getpid(), signal.SIGTERM))
        again.daemon = True
        again.start()

    try:
        sys.unraisablehook = send_again
        handle_ending()
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
        sys.unraisablehook = hook


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes started within the block never get SIGINT, which a terminal sends to its whole foreground group.

    They inherit that it is blocked. A process that ignored it only once it runs our code would still print a traceback
    while it imports. This process gets a SIGINT of its own after the block.
    """
    resource_tracker.ensure_running()  # started within the block, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
