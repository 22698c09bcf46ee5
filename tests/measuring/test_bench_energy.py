"""The energy of windows, from a probe that stands in for a GPU."""

from __future__ import annotations

import time
from typing import Any

import pytest

from harness.bench import energy
from harness.bench.energy import watching
from harness.bench.timing import Window, Windows
from harness.probes.base import Probe, Sample


class Gpu(Probe):
    """Takes 100 W while it is idle, and 300 W from `busy_from` on."""

    name = "nvml"
    busy_from = float("inf")

    def __init__(self, **more: float) -> None:
        self.more, self.zero_s = more, time.perf_counter()

    def sample(self, t_s: float) -> list[Sample]:
        busy_s = max(0.0, t_s - Gpu.busy_from)
        values: dict[str, Any] = {
            "energy_j": 100 * (t_s - self.zero_s) + 200 * busy_s,
            "power_w": 300.0 if busy_s else 100.0,
            "kernel_running_fraction": float(bool(busy_s)),
            "throttle_mask": 0,
            "compute_processes": 1,
        }
        return [Sample(t_s=t_s, probe="nvml", device="GPU-1", values=values | self.more, missing={})]


def measured(monkeypatch: pytest.MonkeyPatch, **more: float) -> energy.Energy:
    """Half a second of windows on such a GPU, 100 images in each."""
    monkeypatch.setattr(energy, "IDLE_S", 0.3)
    monkeypatch.setattr(energy, "HZ", 50.0)
    windows = Windows(6, True, {"step": []})
    with watching("cuda", lambda *_: [Gpu(**more)]) as watch:
        Gpu.busy_from = time.perf_counter()
        for _ in range(5):
            start_s = time.perf_counter()
            time.sleep(0.1)
            windows.of["step"].append(Window(start_s, time.perf_counter(), 100, 0.1))
    return watch.of(windows, "step")


def test_joules_per_image_come_from_the_windows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 W for 0.1 s or a little more are 0.3 J an image; the bound allows for a busy machine."""
    found = measured(monkeypatch)
    held = {name: number for name, number in found.values.items() if number is not None}
    assert 0.29 < held["gpu_j_per_image"] < 0.6
    assert held["gpu_idle_w"] == 100
    assert abs(held["gpu_energy_disagreement"]) < 0.2
    assert 5 < held["gpu_samples_per_s"] < 60  # of 50 asked for
    assert found.flags == {}
    assert set(found.missing) == {"gpu_sm_active", "gpu_tensor_active", "gpu_dram_active"}


def test_a_foreign_process_and_lower_clocks_are_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, compute_processes=2, throttle_mask=0x004)
    assert "another process computed on the GPU" in found.flags["foreign_process"]
    assert "clocks were below their maximum: power cap 0." in found.flags["throttled"]


def test_on_a_cpu_every_value_is_null_with_that_reason() -> None:
    with watching("cpu") as watch:
        pass
    windows = Windows(6, True, {"step": [Window(0.0, 1.0, 10, 1.0)]})
    found = watch.of(windows, "step")
    assert set(found.values.values()) == {None}
    assert set(found.missing) == set(found.values)
    assert set(found.missing.values()) == {"the run computes on the CPU"}
