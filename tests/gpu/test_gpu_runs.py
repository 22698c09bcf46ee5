"""Whole runs on a GPU: the same bits again, the choices for speed, a small study, and NVML against nvidia-smi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.events import StepsDone
from harness.probes.nvml import open_nvml
from harness.records.store import RunRecord, Store
from harness.records.verify import verify

ROOT = Path(__file__).parents[2]
RUN = (
    "run",
    "--variant",
    "grouped_2gpu",
    "--data",
    "synthetic",
    "--set",
    "epochs=3",
    "--set",
    "augmentation.colour_std=1",
)


def harness(home: Path, *words: str, device: torch.device) -> str:
    environ = {**os.environ, "HARNESS_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--device", device.type],
        cwd=home, env=environ, text=True, capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def losses(record: RunRecord) -> list[float]:
    return [loss for event in record.events() if isinstance(event, StepsDone) for loss in event.losses]


def run(home: Path, device: torch.device, *settings: str) -> RunRecord:
    home.mkdir()
    harness(home, *RUN, *(word for setting in settings for word in ("--set", setting)), device=device)
    (record,) = Store(home / "results").records()
    assert verify(record.path) == []
    return record


def test_the_same_run_gives_the_same_bits(tmp_path: Path, device: torch.device) -> None:
    one, two = (run(tmp_path / name, device) for name in ("one", "two"))
    assert losses(one)
    assert losses(one) == losses(two)
    assert one.summary.results == two.summary.results
    assert one.summary.peak_gpu_mib is not None
    assert 0 < one.summary.peak_gpu_mib < 3000


@pytest.mark.parametrize(
    "setting", ["fused_update=true", "deterministic=false", "precision=bf16", "precision=tf32"]
)
def test_a_choice_for_speed_trains_as_the_default_does(
    tmp_path: Path, setting: str, device: torch.device
) -> None:
    """The first losses agree to the precision, later ones part; both nets learn."""
    plain, fast = run(tmp_path / "plain", device), run(tmp_path / "fast", device, setting)
    assert plain.spec.digest != fast.spec.digest
    bound = 2e-2 if "precision" in setting else 1e-3
    assert losses(fast)[:5] == pytest.approx(losses(plain)[:5], rel=bound)
    assert losses(fast)[-1] < losses(fast)[0]


def test_a_small_study_is_trained_sealed_and_reported(tmp_path: Path, device: torch.device) -> None:
    words = ("reproduce", "--variants", "grouped_2gpu,no_lrn", "--seeds", "1", "--data", "synthetic")
    harness(tmp_path, *words, device=device)
    records = Store(tmp_path / "results").records()
    assert sorted(record.spec.variant for record in records) == ["grouped_2gpu", "no_lrn"]
    for record in records:
        assert record.summary.status == "ok"
        assert record.env.used_gpus
    assert (tmp_path / "reports/reproduce/report.md").is_file()
    assert (tmp_path / "reports/reproduce/report.pdf").is_file()


@pytest.mark.parametrize("words", [("step",), ("pipeline", "--data", "synthetic")])
def test_bench_measures_the_gpu(tmp_path: Path, words: tuple[str, ...], device: torch.device) -> None:
    found = json.loads(harness(tmp_path, "bench", *words, "--windows", "5", "--json", device=device))
    assert found["placement"]["device"] == device.type
    assert found["bound_by"]


SAID = "uuid,name,memory.total,power.limit,memory.used,temperature.gpu,power.draw"


def test_nvml_says_what_nvidia_smi_says(device: torch.device) -> None:
    """Total memory, power limit and name are equal; used memory, temperature and power change between the readings."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi is not installed")
    torch.ones(1, device=device)
    with open_nvml(device.type) as probe:
        gpus, (sample, *_) = probe.gpus(), probe.sample(0.0)
    lines = subprocess.run(
        ["nvidia-smi", f"--query-gpu={SAID}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    said = {line.split(", ")[0]: line.split(", ")[1:] for line in lines}
    for gpu in gpus:
        name, memory, limit, *_ = said[gpu.device]
        assert gpu.name == name
        assert gpu.memory_mib == pytest.approx(float(memory), abs=1)
        if gpu.power_limit_w is not None:
            assert gpu.power_limit_w == pytest.approx(float(limit), abs=0.01)
    used, temperature, power = said[sample.device][3:]
    values = sample.values
    assert values["memory_used_mib"] == pytest.approx(float(used), rel=0.5, abs=500)
    assert values["temperature_c"] == pytest.approx(float(temperature), abs=5)
    assert values["power_w"] == pytest.approx(float(power), rel=0.5, abs=50)
