"""Signals that ask a run to stop: the first one is stored, and what a second one does."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from harness.signals import Terminated, stop_requests, terminable


def test_an_echo_of_sigterm_leaves_the_run_its_time_for_a_checkpoint() -> None:
    with stop_requests() as stop:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert stop.signal == signal.SIGTERM


@pytest.mark.parametrize(
    ("second", "after_s"), [(signal.SIGTERM, 6.0), (signal.SIGINT, 0.5), (signal.SIGINT, 6.0)]
)
def test_a_second_request_ends_the_run_at_once(
    monkeypatch: pytest.MonkeyPatch, second: signal.Signals, after_s: float
) -> None:
    now = [100.0]
    monkeypatch.setattr("harness.signals.time.monotonic", lambda: now[0])
    with stop_requests() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        now[0] += after_s
        with pytest.raises(Terminated):
            signal.raise_signal(second)


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_whose_exception_a_library_caught_still_stops_the_run(ending: signal.Signals) -> None:
    with terminable():
        with suppress(BaseException):  # such as a bare `except:` around an import
            os.kill(os.getpid(), ending)
        with stop_requests() as stop:
            assert stop.signal == ending
    with stop_requests() as stop:
        assert not stop()
