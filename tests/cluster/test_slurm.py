"""`submit` on the Slurm that slurm.sh starts: an array runs, and a job that has to end is requeued and goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import SMALL_DATA, SUBMIT_STUDY

from harness.checkpoint import FOLDER
from harness.events import RunResumed, StepsDone
from harness.records.store import RunRecord, Store
from harness.records.verify import verify
from harness.studies.cluster import queued

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.cluster


def submit(home: Path, *words: str) -> str:
    environ = {**os.environ, "HARNESS_CACHE": str(home / "cache")}
    environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    command = [
        sys.executable,
        "-m",
        "harness",
        *SUBMIT_STUDY,
        "--partition",
        "test",
        "--minutes",
        "30",
        *words,
    ]
    done = subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(holds: Callable[[], Any], results: Path, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not holds():
        logs = "".join(path.read_text() for path in results.glob(".jobs/*/*.err"))
        assert time.monotonic() < end, logs
        time.sleep(0.2)


def statuses(results: Path) -> list[str]:
    return [record.summary.status for record in Store(results).records()]


def test_an_array_makes_its_runs(tmp_path: Path) -> None:
    results = tmp_path / "results"
    said = submit(
        tmp_path, "--variants", "no_lrn,single_gpu", "--set", "epochs=2", "--array", "--at-once", "1"
    )
    assert "2 runs in 2 jobs" in said
    assert {one.name.split()[0] for one in queued(results)} == {"no_lrn", "single_gpu"}
    until(lambda: statuses(results) == ["ok", "ok"], results)
    until(lambda: queued(results) == [], results)
    assert [problem for folder in Store(results).folders() for problem in verify(folder)] == []


def test_a_job_that_gets_the_signal_saves_a_checkpoint_is_requeued_and_goes_on(tmp_path: Path) -> None:
    results = tmp_path / "results"
    submit(tmp_path, "--variants", "no_lrn", "--set", "epochs=60", "--checkpoint-minutes", "0")
    until(lambda: list(results.glob(f"{FOLDER}/*/*.safetensors")), results)
    (job,) = results.glob(".jobs/*.json")
    # as Slurm sends it before the time limit
    subprocess.run(["scancel", "--signal=USR2", job.stem], check=True)
    until(lambda: statuses(results) == ["interrupted"], results)
    assert [one.job for one in queued(results)] == [job.stem]
    until(lambda: statuses(results) == ["interrupted", "ok"], results)
    record = Store(results).records()[1]
    assert any(isinstance(event, RunResumed) for event in record.events())


LONG = ("--set", "epochs=300", "--set", "evaluation.every_epochs=0")  # a step an epoch


def losses(record: RunRecord) -> list[float]:
    return [loss for event in record.events() if isinstance(event, StepsDone) for loss in event.losses]


def requeue(job: str) -> None:
    subprocess.run(["scontrol", "requeue", job], check=True)


def pre_empt(job: str) -> None:
    """A job of a partition with a higher priority needs the whole node for a moment."""
    words = ["--partition", "urgent", "--exclusive", "--output", "/dev/null", "--wrap", "sleep 1"]
    subprocess.run(["sbatch", *words], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The run that was never stopped, on one thread as in a job."""
    home = tmp_path_factory.mktemp("whole")
    environ = {**os.environ, "HARNESS_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    words = ("run", "--variant", "no_lrn", *SMALL_DATA, *LONG, "--threads", "1", "--device", "cpu")
    command = [sys.executable, "-m", "harness", *words]
    subprocess.run(command, env=environ, cwd=home, check=True, timeout=300)
    (record,) = Store(home / "results").records()
    return record


@pytest.mark.parametrize("take_the_node", [requeue, pre_empt])
def test_a_job_that_loses_its_node_is_requeued_and_ends_as_the_run_that_was_never_stopped(
    tmp_path: Path, whole: RunRecord, take_the_node: Callable[[str], None]
) -> None:
    """Slurm sends SIGTERM, and SIGKILL 30 s later. The only checkpoint is that of the SIGTERM."""
    results = tmp_path / "results"
    submit(tmp_path, "--variants", "no_lrn", *LONG, "--checkpoint-minutes", "1000")
    until(
        lambda: [path for path in results.glob(".open/*/events.jsonl") if path.stat().st_size], results
    )
    (job,) = results.glob(".jobs/*.json")
    take_the_node(job.stem)
    until(lambda: statuses(results) == ["interrupted"], results)
    (stopped,) = Store(results).records()
    assert str(stopped.summary.status_reason).startswith("stopped by SIGTERM after ")
    (saved,) = results.glob(f"{FOLDER}/*/*.safetensors")
    assert int(saved.stem) == stopped.summary.steps > 0
    until(lambda: statuses(results) == ["interrupted", "ok"], results)
    record = Store(results).records()[1]
    (resumed,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert (resumed.step, resumed.run_id) == (stopped.summary.steps, stopped.run_id)
    assert losses(record) == losses(whole)
    assert record.summary.results == whole.summary.results
    assert [problem for folder in Store(results).folders() for problem in verify(folder)] == []
    until(lambda: queued(results) == [], results)
