"""NVML that is lost in the middle of a run: the run goes on, and its record says why numbers are missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import FakeNvml, Gpu, NVMLError
from tiny_training import prepared, recipe, run_spec

from harness.events import Event, StepsDone
from harness.placement import Placement
from harness.probes.gpus import Device
from harness.probes.nvml import NvmlProbe
from harness.records.store import Store
from harness.run import execute
from variants.recipes.recipe import Evaluation

RULES = recipe(epochs=4.0, evaluation=Evaluation(protocols=("centre",), every_epochs=1.0))
SPEC = run_spec(32, RULES)
PERIOD_S = 0.02

pytestmark = pytest.mark.usefixtures("torch_as_before")


@pytest.mark.parametrize("reason", ["GPU is lost", "Uninitialized"])
def test_a_run_goes_on_without_nvml_and_says_why_its_numbers_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """NVML can be lost alone, such as where another library shuts it down; of a lost GPU, CUDA gives an error."""
    gpu = Gpu("GPU-a")
    nvml = FakeNvml([gpu])
    probe = NvmlProbe(nvml, [Device(gpu.uuid, gpu, gpu, gpu.name, "off", "all visible")])
    monkeypatch.setattr("harness.run.open_probes", lambda device: [probe])

    def refused(*_: Any) -> None:
        raise NVMLError(reason)

    def lose(event: Event) -> None:
        if isinstance(event, StepsDone) and event.last_step == 8:
            monkeypatch.setattr(FakeNvml, "__getattr__", lambda nvml, name: refused)
            time.sleep(10 * PERIOD_S)

    record = execute(SPEC, prepared(32), Store(tmp_path), Placement(), lose, sample_s=PERIOD_S)
    assert record.summary.status == "ok"
    assert record.probes()["missing"]["nvml"].endswith(reason)
    assert record.summary.gpu_energy_j is None
    assert record.summary.missing["gpu_energy_j"]
