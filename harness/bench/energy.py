"""The energy of measured windows: NVML is sampled beside them, and summed up as for a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.bench.timing import Windows
from harness.probes.base import Probe, Sample
from harness.probes.sampler import Sampler
from harness.probes.summary import doubts, summarise
from harness.probes.table import open_probes

HZ = 10.0
IDLE_S = 2.5  # before the first window; NVML says for up to a second that a kernel ran
PROBES = ("nvml", "gpm")
DETAILS = {  # names in the result: names of probes.summary
    "gpu_j_per_image": "gpu_j_per_image",
    "gpu_energy_disagreement": "gpu_energy_disagreement",
    "gpu_idle_w": "gpu_idle_w",
    "gpu_sm_active": "sm_active_fraction",
    "gpu_tensor_active": "tensor_active_fraction",
    "gpu_dram_active": "dram_active_fraction",
}


@dataclass
class Watch:
    """What NVML said while something was measured. report: that of the sampler."""

    samples: list[Sample] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    def of(self, windows: Windows, name: str) -> Energy:
        """What the windows of one way needed. Call it after the block."""
        during = windows.intervals(name)
        told = summarise(self.samples, during, during, windows.images(name))
        details = told["details"]
        values: dict[str, float | None] = {ours: details[theirs] for ours, theirs in DETAILS.items()}
        missing = {
            ours: told["reasons"][DETAILS[ours]] for ours, held in values.items() if held is None
        }
        absent = self.report["missing"].get("nvml")
        values["gpu_samples_per_s"] = None if absent else self.report["achieved_hz"]["nvml"]
        if values["gpu_samples_per_s"] is None:
            missing["gpu_samples_per_s"] = absent or "too few samples"
        return Energy(values, missing, doubts(details))


@dataclass(frozen=True)
class Energy:
    """values: numbers by name with the reason of each null in `missing`. flags: what makes them doubtful,
    a sentence by name.
    """

    values: Mapping[str, float | None]
    missing: Mapping[str, str]
    flags: Mapping[str, str]


@contextmanager
def watching(device: str, opened: Callable[..., list[Probe]] = open_probes) -> Iterator[Watch]:
    """Sample the GPU of `device` in the block; on a CPU every value is null with that reason.

    On a GPU this first waits for IDLE_S, with the GPU idle. opened: opens the probes.
    """
    watch = Watch()
    with Sampler(opened(device, PROBES), watch.samples.append, time.perf_counter, hz=HZ) as sampler:
        if device.startswith("cuda"):
            time.sleep(IDLE_S)
        yield watch
    watch.report = sampler.report()
