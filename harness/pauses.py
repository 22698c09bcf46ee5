"""Notices when this process was stopped for a while: SIGSTOP, a frozen container, a paused machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

TICK_S = 0.5
SHORTEST_S = 2.0  # a shorter gap between two ticks may be due to a busy machine


class Pauses:
    """A thread that wakes twice a second within the block; where it woke late, the process was stopped.

    clock: seconds, which go on while the process is stopped, as time.perf_counter does.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._awake_s = clock()
        self._paused_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="pauses", daemon=True)

    def __enter__(self) -> Pauses:
        self._awake_s = self._clock()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def take(self) -> float:
        """Seconds in which the process was stopped since the last call."""
        with self._lock:
            self._look()
            paused_s, self._paused_s = self._paused_s, 0.0
        return paused_s

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            with self._lock:
                self._look()

    def _look(self) -> None:
        now_s = self._clock()
        gap_s, self._awake_s = now_s - self._awake_s, now_s
        if gap_s >= SHORTEST_S:
            self._paused_s += gap_s
