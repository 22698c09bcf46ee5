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
from calling import SUBMIT_STUDY

from harness.checkpoint import FOLDER
from harness.events import RunResumed
from harness.records.store import Store
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
    subprocess.run(
        ["scancel", "--signal=USR2", job.stem], check=True
    )  # as Slurm sends it before the time limit
    until(lambda: statuses(results) == ["interrupted"], results)
    assert [one.job for one in queued(results)] == [job.stem]
    until(lambda: statuses(results) == ["interrupted", "ok"], results)
    record = Store(results).records()[1]
    assert any(isinstance(event, RunResumed) for event in record.events())
