"""Samples probes during a run, each in a daemon thread, so that a slow or dead probe delays nothing
else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from harness.probes.base import Probe, Sample, unavailable

FAILURES_ALLOWED = 3  # in a row; then the probe is given up
LEAVE_S = 1.0  # leaving the block waits at most this long, for all probes together


class Sampler:
    """Samples every probe `hz` times a second, once at the start and once at the end, until the block
    is left.

    sink: takes each sample, from the probes' threads, never two at once and never after the block. If
    it raises, sampling ends: a run that can't be watched still runs. clock: seconds, the zero of the
    samples' `t_s` (Writer.elapsed). A probe whose first call fails reports it once, in a sample with
    `available` null and the reason.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        sink: Callable[[Sample], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        hz: float = 1.0,
    ) -> None:
        self._watches = [_Watch(probe, self._deliver, hz, clock) for probe in probes]
        self._sink, self._hz = sink, hz
        self._lock = threading.Lock()
        self._closed = False
        self._sink_error: str | None = None
        self._absent: dict[str, str] = {}

    def __enter__(self) -> Sampler:
        for watch in self._watches:
            watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for watch in self._watches:
            watch.stop.set()
        until = time.monotonic() + LEAVE_S
        for watch in self._watches:
            watch.join(max(0.0, until - time.monotonic()))
        with self._lock:
            self._closed = True

    def report(self) -> dict[str, Any]:
        """For probes.json: what was asked, what was reached, and why a probe stayed silent."""
        missing = self._absent | {
            watch.probe.name: watch.trouble() for watch in self._watches if watch.trouble()
        }
        if self._sink_error:
            missing["samples"] = self._sink_error
        return {
            "requested_hz": self._hz,
            "achieved_hz": {watch.probe.name: watch.achieved_hz() for watch in self._watches},
            "missing": missing,
        }

    def _deliver(self, sample: Sample) -> None:
        with self._lock:
            if self._closed or self._sink_error:
                return
            if "available" in sample.missing:
                self._absent[sample.probe] = sample.missing["available"]
            try:
                self._sink(sample)
            except Exception as error:  # whatever it is, it must not reach the run
                self._sink_error = f"samples could not be stored: {error}"


class _Watch(threading.Thread):
    """The thread of one probe."""

    def __init__(
        self, probe: Probe, deliver: Callable[[Sample], None], hz: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(name=f"probe-{probe.name}", daemon=True)
        self.probe = probe
        self.stop = threading.Event()
        self._deliver, self._period_s, self._clock = deliver, 1.0 / hz, clock
        self._rounds, self._first_s, self._last_s = 0, 0.0, 0.0
        self._failures = 0
        self._reason: str | None = None
        self._asked_s: float | None = None  # when the call that is going on began

    def run(self) -> None:
        try:
            with self.probe:
                self._sample_until_stopped()
        except Exception as error:  # only leaving the block can raise
            self._reason = self._reason or f"closing it failed: {error}"

    def _sample_until_stopped(self) -> None:
        start = self._clock()
        ticks = 0
        while not self.stop.is_set() and self._round():
            # ticks missed are not made up for
            ticks = max(ticks + 1, int((self._clock() - start) / self._period_s))
            self.stop.wait(max(0.0, start + ticks * self._period_s - self._clock()))
        if self._failures < FAILURES_ALLOWED:
            self._round()

    def _round(self) -> bool:
        """Samples once. False when the probe is to be given up."""
        self._asked_s = now = self._clock()
        try:
            samples = self.probe.sample(now)
        except Exception as error:  # a probe is foreign code beside the run
            self._fail(now, f"{type(error).__name__}: {error}")
            return self._failures < FAILURES_ALLOWED
        finally:
            self._asked_s = None
        self._failures = 0
        self._first_s, self._last_s = (now if self._rounds == 0 else self._first_s), now
        self._rounds += 1
        for sample in samples:
            self._deliver(sample)
        return True

    def _fail(self, now: float, reason: str) -> None:
        self._failures += 1
        if self._reason is None:
            self._deliver(unavailable(self.probe.name, now, reason))
        self._reason = reason

    def achieved_hz(self) -> float | None:
        """Samples a second between the first and the last; None with fewer than two."""
        if self._rounds < 2 or self._last_s <= self._first_s:
            return None
        return round((self._rounds - 1) / (self._last_s - self._first_s), 3)

    def trouble(self) -> str | None:
        asked_s = self._asked_s
        if self.stop.is_set() and self.is_alive() and asked_s is not None:
            return f"it has not answered for {self._clock() - asked_s:.0f} s and was left behind"
        if self._reason and self._failures >= FAILURES_ALLOWED:
            return f"given up after {self._failures} failures in a row; the last: {self._reason}"
        return self._reason
