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
from typing import NoReturn

RESEND_S = 0.005


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP (a lost terminal), raised where the main thread is: to a run it is the same as Ctrl-C."""


ENDING = (signal.SIGTERM, signal.SIGHUP)


def raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    """A signal handler that raises Terminated once."""
    # a process group's and a parent's both arrive: the second must not break off the sealing
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Terminated("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


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


class StopRequests:
    """What signals asked of a run that ends only between two steps. signal: the one that asked it to stop, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.checkpoint = False  # SIGUSR1: save now and go on, as Slurm asks before it takes a machine away

    def __call__(self) -> bool:
        """Whether to end with this step."""
        return self.signal is not None

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal is remembered; a second one ends the run where it is."""
        if self.signal is not None:
            raise_terminated(number, frame)
        self.signal = signal.Signals(number)

    def raise_if_asked(self) -> None:
        """Raise Terminated where a signal asked for it."""
        if self.signal is not None:
            raise_terminated(self.signal, None)

    def _ask_for_checkpoint(self, number: int, frame: FrameType | None) -> None:
        self.checkpoint = True


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Ctrl-C, SIGTERM and SIGHUP are remembered within the block, so that a run can end with a whole step.

    One that this process ignores stays ignored. Elsewhere than in the main thread nothing changes.
    """
    asked = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    handlers = dict.fromkeys((signal.SIGINT, *ENDING), asked._ask_to_stop)
    handlers[signal.SIGUSR1] = asked._ask_for_checkpoint
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] != signal.SIG_IGN:
                signal.signal(number, handler)
        yield asked
    except Exception:  # what a signal to the whole group did to a child, a loader's worker above all
        asked.raise_if_asked()
        raise
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


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
