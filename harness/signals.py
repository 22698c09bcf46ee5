"""Signal handling: SIGTERM and SIGHUP raise an exception, so that a run can be sealed; children
ignore Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import NoReturn

RESEND_S = 0.005
# Slurm sends SIGTERM twice to a job that it pre-empts; so do a process group and a parent
ECHO_S = 5.0


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM or SIGHUP (a closed terminal); a run treats it like
    Ctrl-C.
    """


ENDING = (signal.SIGTERM, signal.SIGHUP)
_raised: signal.Signals | None = None  # for which a handler raised Terminated


def raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    """A signal handler that raises Terminated once."""
    global _raised
    _raised = signal.Signals(number)
    _end(number)


def _end(number: int) -> NoReturn:
    # the signal can come twice (process group and parent); the second must not interrupt the sealing
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Terminated("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


def handle_ending() -> None:
    """Make both signals raise Terminated.

    A signal that this process ignores, as under nohup, stays ignored.
    """
    for ending in ENDING:
        if signal.getsignal(ending) != signal.SIG_IGN:
            signal.signal(ending, raise_terminated)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Terminated within the block.

    Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _raised
    before, hook = {ending: signal.getsignal(ending) for ending in ENDING}, sys.unraisablehook
    _raised = None

    def send_again(dropped: sys.UnraisableHookArgs) -> None:
        """Python ignores exceptions raised in callbacks and finalisers, such as importlib's: raise the
        exception again.
        """
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
        _raised = None


class StopRequests:
    """Requests by signals to a run, which stops only between two steps. signal: the one that asked it
    to stop, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked_s = 0.0
        # SIGUSR1: save a checkpoint and go on; Slurm can send it before it ends a job
        self.checkpoint = False

    def __call__(self) -> bool:
        """Whether to stop after this step."""
        return self.signal is not None

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Store the first signal; a second one ends the run at once, unless it is an echo of the first."""
        now_s = time.monotonic()
        if self.signal is None:
            self.signal, self._asked_s = signal.Signals(number), now_s
        elif number == signal.SIGINT or now_s - self._asked_s > ECHO_S:
            _end(number)

    def raise_if_asked(self) -> None:
        """Raise Terminated if a signal asked for it."""
        if self.signal is not None:
            _end(self.signal)

    def _ask_for_checkpoint(self, number: int, frame: FrameType | None) -> None:
        self.checkpoint = True


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Ctrl-C, SIGTERM and SIGHUP are stored within the block, so that a run can finish its step before
    it ends.

    A signal that this process ignores stays ignored. Outside the main thread this does nothing.
    A signal that came before the block, and whose Terminated some library has caught, counts here.
    """
    asked = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    asked.signal = _raised
    handlers = dict.fromkeys((signal.SIGINT, *ENDING), asked._ask_to_stop)
    handlers[signal.SIGUSR1] = asked._ask_for_checkpoint
    before = {number: signal.getsignal(number) for number in handlers}
    try:
        for number, handler in handlers.items():
            if before[number] != signal.SIG_IGN:
                signal.signal(number, handler)
        yield asked
    except Exception:  # an effect of the same signal on a child process, such as a loader's worker
        asked.raise_if_asked()
        raise
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes started within the block never get SIGINT, which a terminal sends to the whole
    foreground group.

    They inherit a blocked SIGINT. Ignoring it in the child's own code would be too late: Ctrl-C during
    its imports would print a traceback. This process gets a pending SIGINT after the block.
    """
    resource_tracker.ensure_running()  # if it were started within the block, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
