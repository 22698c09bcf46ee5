"""A run that is killed at any moment goes on by the same command, and ends as the run that never stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import faulty
import numpy as np
import pytest
from faulty import Fork, wait_until

from harness.checkpoint import FOLDER
from harness.events import RunResumed, StepsDone
from harness.records.store import RunRecord, Store
from harness.records.summary_fields import _rate, _windows

RUN = (
    "run",
    "--variant",
    "no_lrn",
    "--data",
    "synthetic",
    "--device",
    "cpu",
    "--threads",
    "1",
    "--set",
    "epochs=1",
)


def words(results: Path, *more: str) -> tuple[str | Path, ...]:
    """A run of 32 steps, with a validation and a checkpoint every 8."""
    return (*RUN, "--results", results, "--checkpoint-minutes", "0", *more)


def start(results: Path, *more: str) -> Fork:
    """As `python -m harness`; `whole` is a process of its own, and has the same bits."""
    return Fork(results.parent / "cache", *words(results, *more))


def finish(process: Fork | subprocess.Popen[str]) -> str:
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return out


def begun(results: Path, process: Fork | subprocess.Popen[str], before: Iterable[Path] = ()) -> None:
    """Wait until the run's folder is there, beside those `before`."""
    wait_until(
        lambda: set(results.glob(".open/*/spec.json")) - set(before) or process.poll() is not None
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, float]:
    """The run that never stopped, and the seconds from its folder to its end."""
    results = tmp_path_factory.mktemp("whole") / "results"
    process = faulty.start(results.parent / "cache", *words(results))
    begun(results, process)
    began = time.monotonic()
    finish(process)
    length_s = time.monotonic() - began
    (record,) = Store(results).records()
    assert not list((results / FOLDER).glob("*"))  # sealed: no checkpoint is left
    return record, length_s


def losses(record: RunRecord) -> list[float]:
    return [loss for event in record.events() if isinstance(event, StepsDone) for loss in event.losses]


def equal(one: RunRecord, other: RunRecord) -> None:
    assert losses(one) == losses(other)
    for protocol in one.summary.results:
        assert one.summary.results[protocol] == other.summary.results[protocol]
        assert np.array_equal(one.correct(protocol, 1), other.correct(protocol, 1))
    assert np.array_equal(one.array("conv1"), other.array("conv1"))
    assert (one.summary.steps, one.summary.images_seen) == (
        other.summary.steps,
        other.summary.images_seen,
    )


def finished(results: Path) -> list[RunRecord]:
    return [record for record in Store(results).records() if record.summary.status == "ok"]


@pytest.mark.parametrize("number", range(4))
def test_killed_at_random_moments_it_ends_as_the_run_that_never_stopped(
    tmp_path: Path, whole: tuple[RunRecord, float], number: int
) -> None:
    """Twice, anywhere between the folder of the run and the time that all of it takes."""
    record, length_s = whole
    chance = random.Random(number)
    results = tmp_path / "results"
    for _ in range(2):
        if finished(results):
            break  # killed after it was sealed
        before = set(results.glob(".open/*/spec.json"))
        process = start(results)
        begun(results, process, before)
        time.sleep(chance.uniform(0.0, 1.0) * length_s)
        process.kill()
        process.communicate()
    if not finished(results):
        finish(start(results))
    (ended,) = finished(results)
    equal(ended, record)
    assert not list((results / FOLDER).glob("*/*"))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_saves_its_last_step_and_goes_on_from_there(
    tmp_path: Path, whole: tuple[RunRecord, float], ending: signal.Signals
) -> None:
    results = tmp_path / "results"
    process = start(results)
    wait_until(lambda: list(results.glob(f"{FOLDER}/*/*.safetensors")))
    process.send_signal(ending)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (stopped,) = Store(results).records()
    assert stopped.summary.status == "interrupted"
    name = "Ctrl-C" if ending == signal.SIGINT else ending.name
    assert f"stopped by {name} after {stopped.summary.steps} steps" in str(
        stopped.summary.status_reason
    )
    finish(start(results))
    (record,) = finished(results)
    (resumed,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert (resumed.step, resumed.run_id) == (stopped.summary.steps, stopped.run_id)
    equal(record, whole[0])


def test_fresh_starts_anew(tmp_path: Path, whole: tuple[RunRecord, float]) -> None:
    results = tmp_path / "results"
    process = start(results)
    wait_until(lambda: list(results.glob(f"{FOLDER}/*/*.safetensors")))
    process.kill()
    process.communicate()
    finish(start(results, "--fresh"))
    (record,) = finished(results)
    assert not any(isinstance(event, RunResumed) for event in record.events())
    equal(record, whole[0])


def test_a_full_disk_leaves_the_run_going_and_says_so(tmp_path: Path) -> None:
    """A file where the folder of the checkpoints ought to be refuses as a full disk does."""
    results = tmp_path / "results"
    results.mkdir()
    (results / FOLDER).write_text("")
    out, said = start(results).communicate(timeout=300)
    assert out.startswith("no_lrn: top-1 error ")
    assert "no checkpoint at step 8: can't write" in said  # mini validates every quarter of an epoch
    (summary,) = results.glob("2*/summary.json")
    assert json.loads(summary.read_text())["status"] == "ok"


def test_a_resumed_run_that_is_stopped_for_a_while_keeps_its_lock_and_no_speed_counts_the_pause(
    tmp_path: Path,
) -> None:
    """Killed, resumed, stopped by SIGSTOP. The same command is refused meanwhile; then the run goes on to its end."""
    results, long = tmp_path / "results", ("--set", "epochs=2", "--set", "evaluation.every_epochs=0")
    killed = start(results, *long)
    wait_until(lambda: list(results.glob(f"{FOLDER}/*/*.safetensors")))
    killed.kill()
    killed.communicate()
    before = set(results.glob(f"{FOLDER}/*/*.safetensors"))
    resumed = start(results, *long)
    wait_until(lambda: set(results.glob(f"{FOLDER}/*/*.safetensors")) - before)
    resumed.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    other = start(results, *long)
    _, said = other.communicate()
    assert other.returncode == 6
    assert f"error: the same run is going on in process {resumed.pid}; wait for it to end" in said
    time.sleep(max(0.0, 2.5 - (time.monotonic() - stopped_s)))
    paused_s = time.monotonic() - stopped_s
    resumed.send_signal(signal.SIGCONT)
    finish(resumed)
    (record,) = finished(results)
    windows = [event for event in record.events() if isinstance(event, StepsDone)]
    (paused,) = [window for window in windows if window.paused_s]
    assert paused_s <= paused.paused_s <= paused.elapsed_s
    _, steady = _windows(record.events())
    assert paused not in steady
    assert record.summary.images_per_second == _rate(steady)
    assert record.summary.train_s == pytest.approx(
        sum(window.elapsed_s - window.paused_s for window in windows), abs=0.01
    )
    assert len(losses(record)) == record.summary.steps == 64
