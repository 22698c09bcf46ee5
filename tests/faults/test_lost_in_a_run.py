"""What a run needs is lost in its middle: its GPU, its memory, its results folder, the right time."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty import refuse
from test_resume import equal, finished, losses
from tiny_training import prepared, recipe, run_spec

import harness.loss
from harness.checkpoint import FOLDER
from harness.errors import DeviceLost, RecordError, RunFailed
from harness.events import RunResumed, StepsDone
from harness.placement import Placement
from harness.records.store import RunRecord, Store
from harness.run import execute
from harness.spec import RunSpec
from variants.recipes.recipe import Evaluation

pytestmark = pytest.mark.usefixtures("torch_as_before")

# 32 steps, with a validation and a checkpoint after every 4
SPEC = run_spec(32, recipe(epochs=8.0, evaluation=Evaluation(protocols=("centre",), every_epochs=1.0)))
STEP, SAVED = 19, 16
LAUNCH = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"


def run(root: Path, spec: RunSpec = SPEC) -> RunRecord:
    return execute(spec, prepared(32), Store(root), Placement(), checkpoint_s=0.0)


Act = Callable[[pytest.MonkeyPatch], None]


def run_losing(root: Path, act: Act, spec: RunSpec = SPEC) -> RunRecord:
    """A run in which `act` is called in the forward pass of step 19. Its patches end with the run."""
    real, calls = harness.loss.training_loss, [0]
    with pytest.MonkeyPatch.context() as here:

        def training_loss(*given: Any) -> Any:
            calls[0] += 1
            if calls[0] == STEP:
                act(here)
            return real(*given)

        here.setattr(harness.loss, "training_loss", training_loss)
        here.setattr("harness.records.lines.FLUSH_S", 0.0)
        return run(root, spec)


def failing(error: BaseException) -> Act:
    def fail(here: pytest.MonkeyPatch) -> None:
        raise error

    return fail


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The run that lost nothing."""
    return run(tmp_path_factory.mktemp("whole"))


def goes_on_as_the_whole(root: Path, whole: RunRecord) -> None:
    """The same command again ends as the run that lost nothing, from its last checkpoint."""
    record = run(root)
    (resumed,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert resumed.step == SAVED
    equal(record, whole)
    assert not list(root.glob(f"{FOLDER}/*/*"))


def test_a_lost_gpu_fails_the_run_in_a_sentence_and_the_next_command_resumes_it(
    tmp_path: Path, whole: RunRecord
) -> None:
    with pytest.raises(DeviceLost) as said:
        run_losing(tmp_path, failing(torch.AcceleratorError(LAUNCH)))
    sentence = str(said.value)
    assert sentence.startswith("cpu failed: unspecified launch failure; look for its errors with")
    (failed,) = Store(tmp_path).records()
    assert failed.summary.status == "failed"
    assert failed.summary.status_reason == f"DeviceLost: {sentence}"
    goes_on_as_the_whole(tmp_path, whole)


def test_a_gpu_that_is_gone_before_the_run_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*devices: str) -> None:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr("harness.run.reset_peak_gpu_memory", gone)
    with pytest.raises(DeviceLost, match="cpu failed: No CUDA GPUs are available; look for"):
        run(tmp_path)
    assert Store(tmp_path).records() == []


def test_a_run_without_memory_is_sealed_with_what_would_fit(tmp_path: Path) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    with pytest.raises(RunFailed, match="use --set batch_size=4, or --set precision=bf16"):
        run_losing(tmp_path, failing(full))
    (record,) = Store(tmp_path).records()
    assert "use --set batch_size=4" in str(record.summary.status_reason)


@pytest.mark.parametrize("removed", [".open", "."])
def test_a_results_folder_that_is_removed_ends_the_run_with_a_checkpoint(
    tmp_path: Path, removed: str
) -> None:
    """Windows of 20 steps: the run ends with the first, and with a checkpoint of it."""
    root, spec = tmp_path / "results", replace(SPEC, recipe=recipe(epochs=8.0))
    expected = losses(run(tmp_path / "whole", spec))
    with pytest.raises(RecordError) as said:
        run_losing(root, lambda here: shutil.rmtree(root / removed), spec)
    assert str(said.value).startswith(f"can't write {root}/.open/")
    assert str(said.value).endswith(
        "events.jsonl: No such file or directory; its folder was removed, or its disk is gone; bring "
        "it back, and repeat the command"
    )
    record = run(root, spec)
    (resumed,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert resumed.step == 20
    assert losses(record) == expected


def test_a_disk_that_fails_ends_the_run_in_a_sentence_and_the_next_command_resumes_it(
    tmp_path: Path, whole: RunRecord
) -> None:
    """As an unmounted disk does: nothing can be written any more, not even a checkpoint."""

    def fail(here: pytest.MonkeyPatch) -> None:
        here.setattr(os, "pwrite", refuse(errno.EIO))
        for module in ("checkpoint", "records.files"):
            here.setattr(f"harness.{module}.write_atomically", refuse(errno.EIO))

    with pytest.raises(
        RecordError, match=r"Input/output error; its folder was removed, or its disk is gone; bring it"
    ):
        run_losing(tmp_path, fail)
    goes_on_as_the_whole(tmp_path, whole)


@pytest.mark.parametrize("jump", [timedelta(days=-2), timedelta(days=2)])
def test_a_clock_that_jumps_makes_no_duration_negative_and_no_speed_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunRecord, jump: timedelta
) -> None:
    """The wall clock jumps in the middle, then the run is stopped; it resumes with that clock, which jumps again."""
    shift = timedelta()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + shift

    def set_clock(here: pytest.MonkeyPatch) -> None:
        nonlocal shift
        shift += jump

    def stop(here: pytest.MonkeyPatch) -> None:
        set_clock(here)
        raise KeyboardInterrupt

    for module in ("harness.records.store", "harness.run", "harness.checkpoint"):
        monkeypatch.setattr(f"{module}.datetime", Clock)
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + shift.total_seconds())
    with pytest.raises(KeyboardInterrupt):
        run_losing(tmp_path, stop)
    record = run_losing(tmp_path, set_clock)
    equal(record, whole)
    assert [each.run_id for each in finished(tmp_path)] == [record.run_id]
    for each in Store(tmp_path).records():
        assert each.summary.finished_utc >= each.summary.started_utc
        times = [stamped.t_s for stamped in each.timeline()]
        assert times == sorted(times)
        assert times[-1] < 60
    (resumed,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert resumed.paused_s >= 0
    windows = [event for event in record.events() if isinstance(event, StepsDone)]
    assert all(0 < window.elapsed_s < 60 and window.paused_s == 0 for window in windows)
    assert record.summary.train_s == pytest.approx(
        sum(window.elapsed_s for window in windows), abs=0.01
    )
