"""NVML's GPM as a probe: how much of a GPU really worked between two samples. Hopper and later have it.

Unlike NVML's "utilisation", which says that some kernel ran, these are fractions of what the whole GPU
could do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from harness.probes.base import Probe, Sample, Unavailable
from harness.probes.gpus import Device
from harness.probes.nvml import ANSWER_S, NvmlProbe, open_nvml
from harness.probes.patience import answer_in_time

METRICS = {  # NVML's numbers of metrics in percent
    "sm_active_fraction": 2,  # of the SMs, with a warp on them
    "sm_occupancy_fraction": 3,  # of the warps that fit
    "tensor_active_fraction": 5,  # of the cycles, with any tensor core at work
    "fp32_active_fraction": 12,
    "dram_active_fraction": 10,  # of the bandwidth of device memory
}
FIELDS = tuple(METRICS)
FIRST = "it takes two samples; this is the first one"


class GpmProbe(Probe):
    """Samples the devices of an NVML probe, which it closes. Every sample is of the time since the last."""

    name = "gpm"

    def __init__(self, nvml: Any, inner: NvmlProbe) -> None:
        self._nvml, self._inner = nvml, inner
        self._last: dict[str, Any] = {}  # by UUID; buffers of the driver

    def sample(self, t_s: float) -> list[Sample]:
        return [self._sample(device, t_s) for device in self._inner.devices]

    def _sample(self, device: Device, t_s: float) -> Sample:
        taken = self._nvml.nvmlGpmSampleAlloc()
        try:
            self._nvml.nvmlGpmSampleGet(device.handle, taken)
        except BaseException:
            self._nvml.nvmlGpmSampleFree(taken)
            raise
        last = self._last.get(device.uuid)
        self._last[device.uuid] = taken
        if last is None:
            values, missing = dict.fromkeys(FIELDS), dict.fromkeys(FIELDS, FIRST)
            return Sample(t_s=t_s, probe=self.name, device=device.uuid, values=values, missing=missing)
        try:
            return self._between(last, taken, device, t_s)
        finally:
            self._nvml.nvmlGpmSampleFree(last)

    def _between(self, last: Any, taken: Any, device: Device, t_s: float) -> Sample:
        asked = self._nvml.c_nvmlGpmMetricsGet_t()
        asked.version, asked.numMetrics = self._nvml.NVML_GPM_METRICS_GET_VERSION, len(METRICS)
        asked.sample1, asked.sample2 = last, taken
        for place, number in enumerate(METRICS.values()):
            asked.metrics[place].metricId = number
        self._nvml.nvmlGpmMetricsGet(asked)
        values: dict[str, float | int | None] = {}
        missing: dict[str, str] = {}
        for metric, field in zip(asked.metrics, FIELDS, strict=False):
            values[field] = None if metric.nvmlReturn else round(metric.value / 100, 4)
            if metric.nvmlReturn:
                missing[field] = f"NVML gave the error {metric.nvmlReturn} for this metric"
        return Sample(t_s=t_s, probe=self.name, device=device.uuid, values=values, missing=missing)

    def close(self) -> None:
        try:
            for taken in self._last.values():
                self._nvml.nvmlGpmSampleFree(taken)
        finally:
            self._last.clear()
            self._inner.close()


def open_gpm(device: str, *, environ: Mapping[str, str] = os.environ, nvml: Any = None) -> GpmProbe:
    """The probe of the GPU that a run on `device` uses. Raises Unavailable where it has no GPM."""
    inner = open_nvml(device, environ=environ, nvml=nvml)
    try:
        answer_in_time(inner.nvml, lambda: _require(inner), ANSWER_S)
    except Unavailable:
        inner.close()
        raise
    return GpmProbe(inner.nvml, inner)


def _require(inner: NvmlProbe) -> None:
    """Raise Unavailable unless every device has GPM."""
    for device in inner.devices:
        if device.mig != "off":
            raise Unavailable("GPM is read of whole GPUs only, and MIG is on")
        try:
            found = inner.nvml.nvmlGpmQueryDeviceSupport(device.handle).isSupportedDevice
        except (inner.nvml.NVMLError, AttributeError) as error:
            raise Unavailable(f"NVML has no GPM here: {error}") from error
        if not found:
            raise Unavailable(f"{device.name} has no GPM; Hopper and later have it")
