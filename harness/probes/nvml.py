"""NVML as a probe: what the driver tells of the GPUs we may use; what it doesn't tell is null, with the reason.

"Utilisation" of NVML is the share of a past window (1/6 to 1 s, by product) in which at least one kernel ran, however
few cores it used; its memory twin is the share of the same window in which device memory was read or written.
The module `pynvml` (package nvidia-ml-py) is passed in, so that everything here runs without a GPU.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.probes.base import Probe, Sample, unavailable
from harness.probes.devices import Device, Unavailable, choose, cuda_uuids, text

MIB = float(1 << 20)
THROTTLES = (  # bit of nvmlClocksEventReasons, in words
    (0x001, "gpu_idle"),
    (0x002, "applications_clocks"),
    (0x004, "power_cap"),
    (0x008, "hardware_slowdown"),
    (0x010, "sync_boost"),
    (0x020, "thermal_slowdown_by_driver"),
    (0x040, "thermal_slowdown_by_hardware"),
    (0x080, "power_brake"),
    (0x100, "display_clocks"),
    (0x200, "board_limit"),
    (0x400, "reliability"),
)


def throttle_words(mask: int) -> tuple[str, ...]:
    """Why the clocks are below their maximum; "gpu_idle" and the like are reasons, too, though no trouble."""
    return tuple(word for bit, word in THROTTLES if mask & bit)


@dataclass(frozen=True)
class Reading:
    """One NVML call: the fields it gives, and how."""

    fields: tuple[str, ...]
    read: Callable[[Any, Any], tuple[float | int, ...]]  # (nvml, handle) -> a number a field


def _utilisation(nvml: Any, handle: Any) -> tuple[float, float]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    return rates.gpu / 100, rates.memory / 100


READINGS = (
    Reading(("kernel_running_fraction", "memory_access_fraction"), _utilisation),
    Reading(("memory_used_mib",), lambda nvml, h: (nvml.nvmlDeviceGetMemoryInfo(h).used / MIB,)),
    Reading(("power_w",), lambda nvml, h: (nvml.nvmlDeviceGetPowerUsage(h) / 1000,)),
    Reading(("energy_j",), lambda nvml, h: (nvml.nvmlDeviceGetTotalEnergyConsumption(h) / 1000,)),
    Reading(("temperature_c",), lambda nvml, h: (int(nvml.nvmlDeviceGetTemperature(h, 0)),)),
    Reading(("sm_clock_mhz",), lambda nvml, h: (int(nvml.nvmlDeviceGetClockInfo(h, 1)),)),
    Reading(("memory_clock_mhz",), lambda nvml, h: (int(nvml.nvmlDeviceGetClockInfo(h, 2)),)),
    # the older name of "event reasons"; drivers before 535 know only this one
    Reading(("throttle_mask",), lambda nvml, h: (int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(h)),)),
    Reading(("compute_processes",), lambda nvml, h: (len(nvml.nvmlDeviceGetComputeRunningProcesses(h)),)),
)
OF_AN_INSTANCE = {"memory_used_mib"}  # what NVML gives of a MIG instance; the rest is of the whole GPU
WHOLE_GPU = "MIG: NVML gives this for the whole GPU only, which others may share"
INSTANCE_UNKNOWN = "MIG is on and no instance is named; set CUDA_VISIBLE_DEVICES to a MIG UUID"


class NvmlProbe:
    """Samples the chosen devices; made by `connect`. Every field that can't be read is null, with NVML's words.

    compute_processes counts all processes that compute on the device, this one included: more than one says that the
    device was shared.
    """

    name = "nvml"

    def __init__(self, nvml: Any, devices: Sequence[Device]) -> None:
        self._nvml = nvml
        self._devices = tuple(devices)

    def describe(self) -> list[dict[str, Any]]:
        return [self._describe(device) for device in self._devices]

    def _describe(self, device: Device) -> dict[str, Any]:
        nvml, missing = self._nvml, dict[str, str]()
        reads: dict[str, Callable[[], Any]] = {
            "name": lambda: text(nvml.nvmlDeviceGetName(device.handle)),
            "memory_mib": lambda: round(nvml.nvmlDeviceGetMemoryInfo(device.handle).total / MIB),
            "power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementLimit(device.parent) / 1000,
            "max_sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(device.parent, 1),
        }
        told = {field: self._tell(field, read, missing) for field, read in reads.items()}
        return {"device": device.uuid, **told, "mig": device.mig, "chosen_by": device.chosen_by, "missing": missing}

    def versions(self, missing: dict[str, str]) -> dict[str, str | None]:
        """driver, driver_cuda (the newest CUDA that the driver runs), nvml."""
        told = {
            "driver": lambda: text(self._nvml.nvmlSystemGetDriverVersion()),
            "driver_cuda": lambda: _cuda_words(self._nvml.nvmlSystemGetCudaDriverVersion()),
            "nvml": lambda: text(self._nvml.nvmlSystemGetNVMLVersion()),
        }
        return {field: self._tell(field, read, missing) for field, read in told.items()}

    def _tell(self, field: str, read: Callable[[], Any], missing: dict[str, str]) -> Any:
        try:
            return read()
        except self._nvml.NVMLError as error:
            missing[field] = str(error)
            return None

    def sample(self, t_s: float) -> list[Sample]:
        return [self._sample(device, t_s) for device in self._devices]

    def _sample(self, device: Device, t_s: float) -> Sample:
        values: dict[str, float | int | None] = {}
        missing: dict[str, str] = {}
        errors = []
        for reading in READINGS:
            reason = _hidden_by_mig(device, reading.fields)
            if reason is None:
                try:
                    values |= zip(reading.fields, reading.read(self._nvml, device.handle), strict=True)
                    continue
                except self._nvml.NVMLError as error:
                    reason = str(error)
                    errors.append(error)
            values |= dict.fromkeys(reading.fields)
            missing |= dict.fromkeys(reading.fields, reason)
        if len(errors) == len(READINGS):
            raise errors[0]  # nothing answers: the device is gone, and the sampler is to know
        return Sample(t_s=t_s, probe=self.name, device=device.uuid, values=values, missing=missing)

    def close(self) -> None:
        self._nvml.nvmlShutdown()


def _hidden_by_mig(device: Device, fields: tuple[str, ...]) -> str | None:
    if device.mig == "instance":
        return None if set(fields) <= OF_AN_INSTANCE else WHOLE_GPU
    return INSTANCE_UNKNOWN if device.mig == "on" else None


class Absent:
    """Stands where there is no GPU to watch: one sample, once, with the reason."""

    name = "nvml"

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._told = False

    def describe(self) -> list[dict[str, Any]]:
        return []

    def sample(self, t_s: float) -> list[Sample]:
        told, self._told = self._told, True
        return [] if told else [unavailable(self.name, t_s, self._reason)]

    def close(self) -> None:
        """Nothing is held."""


def open_nvml(device: str, *, environ: Mapping[str, str] = os.environ, nvml: Any = None) -> list[Probe]:
    """The GPU probe of a run on `device` ("cpu", "cuda", "cuda:1"): always one, that of an absence if need be."""
    if device.startswith("cpu"):
        return [Absent("the run computes on the CPU")]
    index = int(device.partition(":")[2] or 0)
    try:
        return [connect(environ, nvml=nvml, only=index)]
    except Unavailable as reason:
        return [Absent(str(reason))]


def connect(environ: Mapping[str, str] = os.environ, *, nvml: Any = None, only: int | None = None) -> NvmlProbe:
    """A probe of the GPUs this process may use. Raises Unavailable with the reason where there is none.

    They are the ones that CUDA itself names where torch has it running, else those CUDA_VISIBLE_DEVICES names.
    nvml: the module, or a double of it. only: the place of one of them among the visible.
    """
    nvml = nvml or _bindings()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise Unavailable(f"NVML does not start: {error}") from error
    try:
        order = environ.get("CUDA_DEVICE_ORDER")
        found = choose(nvml, environ.get("CUDA_VISIBLE_DEVICES"), cuda_uuids(), order)
    except nvml.NVMLError as error:
        nvml.nvmlShutdown()
        raise Unavailable(f"NVML can't list the GPUs: {error}") from error
    except Unavailable:
        nvml.nvmlShutdown()
        raise
    return NvmlProbe(nvml, found if only is None else found[only : only + 1])


def _cuda_words(version: int) -> str:
    """12040 -> "12.4"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _bindings() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise Unavailable("nvidia-ml-py is not installed; pip install nvidia-ml-py") from None
