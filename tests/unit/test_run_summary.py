"""The summary of a run from its events, and the peak of GPU memory of one run on its own device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_training import NET, recipe

from harness.data.base import LoaderChoice
from harness.events import StepsDone, TrainingDone
from harness.records.schema import Summary
from harness.spec import DataSpec, RunSpec
from harness.summary import SummaryBuilder, peak_gpu_mib, reset_peak_gpu_memory

DATA = DataSpec(name="synthetic", listing="0", classes=10, train_images=1, val_images=1, store_size=10)
SPEC = RunSpec(variant="tiny", geometry="mini", net=NET, recipe=recipe(), data=DATA, seed=0)
NOTHING: dict[str, Any] = {
    "summary": {"gpu_utilisation": None, "gpu_energy_j": None, "cpu_utilisation": 1.0, "peak_rss_mib": 100.0},
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


def built(windows: int, peak: float | None = None) -> Summary:
    times = iter([10.0 + 2.0 * k for k in range(windows)])
    builder = SummaryBuilder(SPEC, lambda: next(times))
    for k in range(windows):
        builder.event(
            StepsDone(
                last_step=20 * (k + 1), epoch=0.1, losses=tuple([float(k)] * 20), top1_error=0.5, lr=0.01,
                images=160, elapsed_s=2.0 if k else 8.0, wait_s=0.5,
            )
        )  # fmt: skip
    builder.event(TrainingDone(steps=20 * windows, images=160 * windows, elapsed_s=14.0, wait_s=2.0))
    return builder.build(
        run_id="run",
        started_utc="2026-01-31T12:00:00Z",
        finished_utc="2026-01-31T12:01:00Z",
        results={},
        loader=LoaderChoice(name="synthetic", reason="for a test"),
        watched=NOTHING,
        peak_gpu_mib=peak,
    )


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
    assert set(summary.missing) == {"images_per_second", "peak_gpu_mib", "gpu_utilisation", "gpu_energy_j"}
    assert built(4, peak=300.0).peak_gpu_mib == 300.0
    assert "peak_gpu_mib" not in built(4, peak=300.0).missing
