"""`submit` through submitit's local executor: jobs run, go on after pre-emption, and are listed while they wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from calling import SUBMIT_STUDY
from tiny_training import run_spec

from harness.checkpoint import FOLDER
from harness.errors import DeviceLost, HarnessError, RunFailed, UsageError
from harness.events import RunResumed
from harness.placement import Placement
from harness.records.store import Store
from harness.records.verify import verify
from harness.resolve import RunRequest
from harness.serialization import from_json, to_json
from harness.spec import RunSpec
from harness.studies.cluster import RunJob, queued
from harness.studies.runs import Task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are other processes, with another working folder."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))))


Submit = Callable[..., str]


@pytest.fixture
def submit(tmp_path: Path, importable: None) -> Iterator[Submit]:
    """The command in a process of its own, as a user gives it: it ends, and the jobs go on. Returns what it said."""
    environ = {**os.environ, "HARNESS_CACHE": str(tmp_path / "cache")}

    def submitted(*words: str) -> str:
        command = [sys.executable, "-m", "harness", *SUBMIT_STUDY, *words]
        done = subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield submitted
    for job in tmp_path.glob("results/.jobs/*.json"):
        with suppress(psutil.NoSuchProcess):
            controller = psutil.Process(int(job.stem))
            for process in (controller, *controller.children(recursive=True)):
                process.kill()


def until(holds: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def statuses(results: Path) -> list[str]:
    return [record.summary.status for record in Store(results).records()]


def test_a_local_job_makes_its_runs_one_after_another(
    submit: Submit, call: Any, tmp_path: Path
) -> None:
    words = ("--variants", "no_lrn,single_gpu", "--set", "epochs=2")
    assert "2 runs in 1 job (" in submit(*words)
    results = tmp_path / "results"
    assert {one.name.split()[0] for one in queued(results)} == {"no_lrn", "single_gpu"}
    assert "queued" in call("status").out
    until(lambda: not queued(results) and len(statuses(results)) == 2)
    assert statuses(results) == ["ok", "ok"]
    assert [problem for folder in Store(results).folders() for problem in verify(folder)] == []
    assert "nothing is submitted" in submit(*words)


def test_a_job_that_has_to_end_saves_a_checkpoint_and_goes_on_after_it_was_requeued(
    submit: Submit, tmp_path: Path
) -> None:
    """The signal is that which submitit sends to the job's process before the time limit."""
    words = ("--variants", "no_lrn", "--set", "epochs=60", "--checkpoint-minutes", "0")
    submit(*words)
    results = tmp_path / "results"
    until(lambda: list(results.glob(f"{FOLDER}/*/*.safetensors")))
    (job,) = results.glob(".jobs/*.json")
    (process,) = psutil.Process(int(job.stem)).children()
    process.send_signal(signal.SIGUSR2)
    until(lambda: len(statuses(results)) == 2)
    assert statuses(results) == ["interrupted", "ok"]
    record = Store(results).records()[1]
    assert any(isinstance(event, RunResumed) for event in record.events())


def test_without_submitit_or_slurm_a_sentence_says_what_to_do(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    said = call(*SUBMIT_STUDY, "--variants", "no_lrn")
    assert said.code == HarnessError.exit_code
    assert said.error == "jobs are submitted through submitit; install it with: pip install submitit"
    assert call(*SUBMIT_STUDY, "--array").code == UsageError.exit_code


def test_without_sbatch_slurm_is_refused(
    call: Any, monkeypatch: pytest.MonkeyPatch, importable: None
) -> None:
    monkeypatch.setattr("harness.studies.cluster.shutil.which", lambda name: None)
    assert (
        "there is no sbatch" in call(*SUBMIT_STUDY, "--variants", "no_lrn", "--partition", "gpu").error
    )


def tasks_of(root: Path, count: int) -> list[Task]:
    spec = run_spec(16)
    request = RunRequest("no_lrn", "mini", "synthetic", 0)
    return [
        Task(to_json(replace(spec, seed=seed)), request, Placement(), root) for seed in range(count)
    ]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The seeds that a job's runs have; seed 0 fails, and of seed 1 the GPU is lost."""
    seeds: list[int] = []

    def work(task: Task, listen: Any) -> None:
        seeds.append(from_json(task.spec, RunSpec).seed)
        if seeds[-1] < 2:
            raise (RunFailed, DeviceLost)[seeds[-1]](f"seed {seeds[-1]} failed")

    monkeypatch.setattr("harness.studies.cluster.work", work)
    before = signal.getsignal(signal.SIGUSR2)
    yield seeds
    signal.signal(signal.SIGUSR2, before)


def test_a_failed_run_takes_no_other_run_of_its_job_with_it(tmp_path: Path, done: list[int]) -> None:
    first, _, *others = tasks_of(tmp_path, 4)
    with pytest.raises(RunFailed, match=r"^1 of 3 runs ended without a result; first: seed 0 failed$"):
        RunJob("")([first, *others])
    assert done == [0, 2, 3]


def test_a_lost_gpu_ends_its_job(tmp_path: Path, done: list[int]) -> None:
    with pytest.raises(DeviceLost, match="seed 1 failed"):
        RunJob("")(tasks_of(tmp_path, 4)[1:])
    assert done == [1]
