"""A process that was stopped for a while notices it, and no window with a pause counts as steady."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from test_pace import window

from harness.events import Event, TrainingStarted
from harness.pauses import Pauses
from harness.records.summary_fields import _rate, _windows

SCRIPT = """
import time
from harness.pauses import Pauses
with Pauses() as pauses:
    print("begun", flush=True)
    until = time.process_time() + 0.3
    while time.process_time() < until:  # busy, as a training is
        pass
    print(pauses.take(), pauses.take())
"""


def test_a_process_that_is_stopped_for_seconds_notices_them(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(2.5)
    os.kill(process.pid, signal.SIGCONT)
    first, second = map(float, process.communicate(timeout=20)[0].split())
    assert 2.5 <= first < 10
    assert second == 0


def test_a_busy_process_has_no_pause_and_a_long_gap_is_one() -> None:
    now = [0.0]
    pauses = Pauses(clock=lambda: now[0])
    now[0] = 1.9
    assert pauses.take() == 0
    now[0] = 70.0
    assert pauses.take() == 70.0 - 1.9
    assert pauses.take() == 0


def test_a_window_with_a_pause_is_neither_warm_up_nor_steady() -> None:
    events: list[Event] = [TrainingStarted(steps=100, images_per_epoch=1, parameters=1)]
    events += [window(20, 9.0), window(40, 62.0, paused_s=60.0), window(60, 2.0), window(80, 2.0)]
    warmup, steady = _windows(events)
    assert [one.last_step for one in warmup] == [20]
    assert [one.last_step for one in steady] == [60, 80]
    assert _rate(steady) == 80.0
