"""The summary of a run from its events, and the peak of GPU memory of one run on its own device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import NET, prepared, recipe

from harness.events import Evaluated, Event, RunResumed, StepsDone, TrainingDone
from harness.gpu_memory import peak_gpu_mib, reset_peak_gpu_memory
from harness.placement import Placement
from harness.records.record import RunRecord, Stamped
from harness.records.schema import Summary
from harness.records.store import Store
from harness.records.summary_fields import summary_fields, training_intervals
from harness.run import execute
from harness.spec import DataSpec, RunSpec
from harness.train import Window
from variants.recipes.recipe import Evaluation

DATA = DataSpec(name="synthetic", listing="0", classes=10, train_images=1, val_images=1, store_size=10)
SPEC = RunSpec(variant="tiny", geometry="mini", net=NET, recipe=recipe(), data=DATA, seed=0)
NOTHING: dict[str, Any] = {
    "summary": {
        "gpu_utilisation": None,
        "gpu_energy_j": None,
        "cpu_utilisation": 1.0,
        "peak_rss_mib": 100.0,
        "peak_memory_mib": 90.0,
    },
    "missing": {"gpu_utilisation": "no GPU was watched", "gpu_energy_j": "no GPU was watched"},
    "details": {},
}


class CudaMemory:
    """Stands in for torch.cuda: bytes in use and their peak, by device."""

    def __init__(self) -> None:
        self.in_use = {"cuda:0": 0, "cuda:1": 0}
        self.peak = dict(self.in_use)

    def use(self, device: str, mib: int) -> None:
        self.in_use[device] = mib << 20
        self.peak[device] = max(self.peak[device], mib << 20)

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak[str(device)] = self.in_use[str(device)]

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak[str(device)]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudaMemory:
    memory = CudaMemory()
    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(memory, name))
    return memory


def test_the_peak_is_that_of_this_run_and_of_its_own_gpu(cuda: CudaMemory) -> None:
    """An earlier run in this process held 900 MiB on the same GPU, and another GPU holds 700 MiB now."""
    mine = torch.device("cuda:1")
    for mib in (900, 10):
        cuda.use("cuda:1", mib)
    cuda.use("cuda:0", 700)
    reset_peak_gpu_memory(mine)
    for mib in (300, 20):
        cuda.use("cuda:1", mib)
    assert peak_gpu_mib(mine) == 300.0
    assert cuda.peak["cuda:0"] == 700 << 20


def test_a_run_on_the_cpu_asks_no_gpu(cuda: CudaMemory) -> None:
    reset_peak_gpu_memory(torch.device("cpu"))
    assert peak_gpu_mib(torch.device("cpu")) is None


FINAL = Evaluated(
    step=0,
    epoch=1.0,
    protocol="centre",
    final=True,
    top1_error=0.5,
    top5_error=0.0,
    loss=0.6,
    images=1,
    elapsed_s=0.1,
)


def window(number: int, elapsed_s: float) -> StepsDone:
    """20 steps of 8 images; the losses are the number, which counts from 0."""
    return StepsDone(
        last_step=20 * (number + 1), epoch=0.1, losses=(float(number),) * 20, top1_error=0.5, lr=0.01, images=160,
        elapsed_s=elapsed_s, wait_s=0.5,
    )  # fmt: skip


def built(windows: int, peak: float | None = None) -> Summary:
    events: list[Event] = [window(k, 2.0 if k else 8.0) for k in range(windows)]
    events += [
        TrainingDone(steps=20 * windows, images=160 * windows, elapsed_s=14.0, wait_s=2.0),
        FINAL,
    ]
    past = [Stamped(t_s=10.0 + 2.0 * k, event=event) for k, event in enumerate(events)]
    return Summary(
        run_id="run", spec_digest=SPEC.digest, status="ok", status_reason=None, started_utc="2026-01-31T12:00:00Z",
        finished_utc="2026-01-31T12:01:00Z", parameters=1, macs=1, results={}, loader="synthetic",
        loader_reason="for a test", **summary_fields(past, NOTHING, peak),
    )  # fmt: skip


def test_the_first_window_is_warmup_and_the_rate_is_the_median_of_the_others() -> None:
    summary = built(4)
    assert (summary.images_per_second, summary.warmup_steps) == (80.0, 20)
    assert summary.steps == 80


def test_the_final_training_loss_is_the_mean_of_the_last_100_steps() -> None:
    """Windows of 20 steps have the losses 0, 1, 2, 3, 4, 5 and so on: the last five are 2 to 6."""
    assert built(7).final_train_loss == 4.0


def test_every_null_of_a_summary_has_its_reason() -> None:
    summary = built(1)
    assert summary.images_per_second is None
    assert summary.peak_gpu_mib is None
    assert set(summary.missing) == {
        "images_per_second",
        "peak_gpu_mib",
        "gpu_utilisation",
        "gpu_energy_j",
    }
    assert built(4, peak=300.0).peak_gpu_mib == 300.0
    assert "peak_gpu_mib" not in built(4, peak=300.0).missing


def test_training_counts_from_the_last_start_and_rounded_times_make_no_overlap() -> None:
    resumed = RunResumed(step=20, epoch=0.1, run_id="run", paused_s=9.0)
    timed = (
        (8.0, window(0, 8.0)),
        (8.1, resumed),
        (12.5, window(1, 4.0)),
        (14.5, window(2, 2.0004)),
        (15.0, FINAL),
    )
    past = [Stamped(t_s=t_s, event=event) for t_s, event in timed]
    assert training_intervals(past) == [(8.5, 12.5), (12.5, 14.5)]
    assert training_intervals(past[:1]) == [(0.0, 8.0)]
    assert training_intervals(past[:2]) == []


def test_of_a_run_resumed_twice_each_first_window_is_warmup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch_as_before: None
) -> None:
    """Four windows of four steps: one, one and two of them in three starts, each slow at first."""
    rules = recipe(epochs=4.0, evaluation=Evaluation(protocols=("centre",), every_epochs=1.0))
    spec = replace(SPEC, recipe=rules, data=replace(DATA, train_images=32, val_images=32))
    real = Window.close

    def start(stop_at: int) -> RunRecord:
        """A run that stops in the window after `stop_at` steps; that window is not in the checkpoint."""
        closed: list[int] = []

        def close(self: Window, done: int, *more: Any) -> StepsDone:
            closed.append(done)
            return replace(real(self, done, *more), elapsed_s=8.0 if len(closed) == 1 else 0.5)

        def listen(event: Event) -> None:
            if isinstance(event, StepsDone) and event.last_step == stop_at + 4:
                raise KeyboardInterrupt

        monkeypatch.setattr(Window, "close", close)
        return execute(spec, prepared(32), Store(tmp_path), Placement(), listen, checkpoint_s=0.0)

    for stop_at in (4, 8):
        with pytest.raises(KeyboardInterrupt):
            start(stop_at)
    record = start(16)
    kinds = [type(event) for event in record.events() if isinstance(event, StepsDone | RunResumed)]
    assert kinds == [StepsDone, RunResumed, StepsDone, RunResumed, StepsDone, StepsDone]
    assert (record.summary.images_per_second, record.summary.warmup_steps) == (64.0, 12)
