"""Starting processes that leave Ctrl-C to this one. A terminal sends it to every process of the foreground group.

A process that ignores it only once it runs our code would still print a traceback while it imports.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def ctrl_c_left_to_us() -> Iterator[None]:
    """Processes started within the block never get SIGINT: they inherit that it is blocked. Ours arrives behind it."""
    resource_tracker.ensure_running()  # started within the block, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
