"""NVML as a probe: what the driver reports of the GPUs we may use; what it does not report is null,
with the reason.

"Utilisation" of NVML is the fraction of a past window (1/6 to 1 s, by product) in which at least one
kernel ran, however few cores it used; the one of memory is the fraction of that window with reads or
writes of device memory.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.probes.base import Probe, Sample, Unavailable
from harness.probes.gpus import Device, Gpu, choose, cuda_uuids, text
from harness.probes.patience import answer_in_time

MIB = float(1 << 20)
ANSWER_S = 20.0  # a driver without persistence mode takes some seconds to start several GPUs
NOT_SUPPORTED, FUNCTION_NOT_FOUND = 3, 13  # values of NVMLError
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
    """Why the clocks are below their maximum; "gpu_idle" and the like are reasons, too, though no
    trouble.
    """
    return tuple(word for bit, word in THROTTLES if mask & bit)


@dataclass(frozen=True)
class Reading:
    """One NVML call: the fields it gives, and how."""

    fields: tuple[str, ...]
    read: Callable[[Any, Any], tuple[float | int, ...]]  # (nvml, handle) -> a number a field


def call(nvml: Any, names: Sequence[str], *arguments: Any) -> Any:
    """The first of several names of one NVML function that both the binding and the driver have.

    Raises NVMLError or AttributeError of the last name where none works.
    """
    for name in names[:-1]:
        try:
            return getattr(nvml, name)(*arguments)
        except (nvml.NVMLError, AttributeError) as error:
            if not _lacks_function(error):
                raise
    return getattr(nvml, names[-1])(*arguments)


def _lacks_function(error: Exception) -> bool:
    return isinstance(error, AttributeError) or getattr(error, "value", None) == FUNCTION_NOT_FOUND


def _is_unsupported(error: Exception) -> bool:
    """Whether the field alone can't be read; else the device may be gone."""
    return _lacks_function(error) or getattr(error, "value", None) == NOT_SUPPORTED


def _reason(error: Exception) -> str:
    if isinstance(error, AttributeError):
        return f"the installed nvidia-ml-py lacks it: {error}"
    return str(error)


def _utilisation(nvml: Any, handle: Any) -> tuple[float, float]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    return rates.gpu / 100, rates.memory / 100


def _temperature(nvml: Any, handle: Any) -> tuple[int]:
    return (int(call(nvml, ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"), handle, 0)),)


def _throttle_mask(nvml: Any, handle: Any) -> tuple[int]:
    """Drivers before 535 have the older name only; CUDA 14 drops it."""
    names = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
    return (int(call(nvml, names, handle)),)


def _processes(nvml: Any, handle: Any) -> tuple[int]:
    names = [f"nvmlDeviceGetComputeRunningProcesses{version}" for version in ("", "_v3", "_v2")]
    return (len(call(nvml, names, handle)),)


READINGS = (
    Reading(("kernel_running_fraction", "memory_access_fraction"), _utilisation),
    Reading(("memory_used_mib",), lambda nvml, h: (nvml.nvmlDeviceGetMemoryInfo(h).used / MIB,)),
    Reading(("power_w",), lambda nvml, h: (nvml.nvmlDeviceGetPowerUsage(h) / 1000,)),
    Reading(("energy_j",), lambda nvml, h: (nvml.nvmlDeviceGetTotalEnergyConsumption(h) / 1000,)),
    Reading(("temperature_c",), _temperature),
    Reading(("sm_clock_mhz",), lambda nvml, h: (int(nvml.nvmlDeviceGetClockInfo(h, 1)),)),
    Reading(("memory_clock_mhz",), lambda nvml, h: (int(nvml.nvmlDeviceGetClockInfo(h, 2)),)),
    Reading(("throttle_mask",), _throttle_mask),
    Reading(("compute_processes",), _processes),
)
FIELDS = tuple(field for reading in READINGS for field in reading.fields)
OF_AN_INSTANCE = {"memory_used_mib"}  # what NVML gives of a MIG instance; the rest is of the whole GPU
WHOLE_GPU = "MIG: NVML gives this for the whole GPU only, which others may share"
INSTANCE_UNKNOWN = "MIG is on and no instance is named; set CUDA_VISIBLE_DEVICES to a MIG UUID"


@dataclass(frozen=True)
class DriverVersions:
    """driver_cuda: the newest CUDA that the driver runs."""

    driver: str | None
    driver_cuda: str | None
    nvml: str | None


class LostError(Exception):
    """No reading of a device answers any more; the message is NVML's."""


class NvmlProbe(Probe):
    """Samples the chosen devices; made by `connect`. Every field that can't be read is null, with the
    reason.

    compute_processes counts all processes that compute on the device, this one included: more than one
    says that the device was shared. nvml: the module, or a double of it.
    """

    name = "nvml"

    def __init__(self, nvml: Any, devices: Sequence[Device]) -> None:
        self.nvml = nvml
        self.devices = tuple(devices)

    def gpus(self) -> tuple[Gpu, ...]:
        """The devices, for env.json."""
        return tuple(self._gpu(device) for device in self.devices)

    def readable_uuids(self) -> list[str]:
        """The UUIDs of the devices that NVML can read."""
        return [device.uuid for device in self.devices if device.unreadable is None]

    def _gpu(self, device: Device) -> Gpu:
        nvml, missing = self.nvml, dict[str, str]()

        def field(name: str, read: Callable[[], Any]) -> Any:
            if device.unreadable is None:
                return self._read(name, read, missing)
            missing[name] = device.unreadable
            return None

        return Gpu(
            device=device.uuid,
            name=field("name", lambda: text(nvml.nvmlDeviceGetName(device.handle))),
            memory_mib=field(
                "memory_mib", lambda: round(nvml.nvmlDeviceGetMemoryInfo(device.handle).total / MIB)
            ),
            power_limit_w=field(
                "power_limit_w", lambda: nvml.nvmlDeviceGetPowerManagementLimit(device.parent) / 1000
            ),
            max_sm_clock_mhz=field(
                "max_sm_clock_mhz", lambda: nvml.nvmlDeviceGetMaxClockInfo(device.parent, 1)
            ),
            mig=device.mig,
            chosen_by=device.chosen_by,
            missing=missing,
        )

    def versions(self, missing: dict[str, str]) -> DriverVersions:
        """The driver's versions; reasons of nulls go to `missing`."""
        nvml = self.nvml
        cuda = ("nvmlSystemGetCudaDriverVersion", "nvmlSystemGetCudaDriverVersion_v2")
        return DriverVersions(
            driver=self._read("driver", lambda: text(nvml.nvmlSystemGetDriverVersion()), missing),
            driver_cuda=self._read("driver_cuda", lambda: _cuda_words(call(nvml, cuda)), missing),
            nvml=self._read("nvml", lambda: text(nvml.nvmlSystemGetNVMLVersion()), missing),
        )

    def _read(self, field: str, read: Callable[[], Any], missing: dict[str, str]) -> Any:
        try:
            return read()
        except (self.nvml.NVMLError, AttributeError) as error:
            missing[field] = _reason(error)
            return None

    def sample(self, t_s: float) -> list[Sample]:
        """One sample of each device.

        Raises LostError where every device is gone: the sampler counts failures.
        """
        samples, lost = [], []
        for device in self.devices:
            try:
                samples.append(self._sample(device, t_s))
            except LostError as error:
                lost.append(error)
                samples.append(self._nulls(device, t_s, str(error)))
        if lost and len(lost) == len(self.devices):
            raise lost[0]
        return samples

    def _nulls(self, device: Device, t_s: float, reason: str) -> Sample:
        values, missing = dict.fromkeys(FIELDS), dict.fromkeys(FIELDS, reason)
        return Sample(t_s=t_s, probe=self.name, device=device.uuid, values=values, missing=missing)

    def _sample(self, device: Device, t_s: float) -> Sample:
        """The readings of one device.

        Raises LostError where all that were tried fail, and not for want of support.
        """
        if device.unreadable is not None:
            return self._nulls(device, t_s, device.unreadable)
        values: dict[str, float | int | None] = {}
        missing: dict[str, str] = {}
        errors, answered = [], False
        for reading in READINGS:
            reason = _hidden_by_mig(device, reading.fields)
            if reason is None:
                try:
                    values |= zip(reading.fields, reading.read(self.nvml, device.handle), strict=True)
                    answered = True
                    continue
                except (self.nvml.NVMLError, AttributeError) as error:
                    reason = _reason(error)
                    errors.append(error)
            values |= dict.fromkeys(reading.fields)
            missing |= dict.fromkeys(reading.fields, reason)
        gone = [error for error in errors if not _is_unsupported(error)]
        if gone and not answered:
            raise LostError(str(gone[0])) from gone[0]
        return Sample(t_s=t_s, probe=self.name, device=device.uuid, values=values, missing=missing)

    def close(self) -> None:
        with suppress(Unavailable):
            answer_in_time(self.nvml, self.nvml.nvmlShutdown, ANSWER_S)

    def describe(
        self, seconds: float | None = None
    ) -> tuple[tuple[Gpu, ...], DriverVersions, dict[str, str]]:
        """The devices, the driver's versions, and the reasons of their nulls.

        Raises Unavailable after `seconds`.
        """

        def ask() -> tuple[tuple[Gpu, ...], DriverVersions, dict[str, str]]:
            missing: dict[str, str] = {}
            return self.gpus(), self.versions(missing), missing

        return answer_in_time(self.nvml, ask, seconds or ANSWER_S)


def _hidden_by_mig(device: Device, fields: tuple[str, ...]) -> str | None:
    if device.mig == "instance":
        return None if set(fields) <= OF_AN_INSTANCE else WHOLE_GPU
    return INSTANCE_UNKNOWN if device.mig == "on" else None


def open_nvml(device: str, *, environ: Mapping[str, str] = os.environ, nvml: Any = None) -> NvmlProbe:
    """The probe of the GPU that a run on `device` uses ("cuda", "cuda:1").

    Raises Unavailable, on the CPU too.
    """
    if device.startswith("cpu"):
        raise Unavailable("the run computes on the CPU")
    return connect(environ, nvml=nvml, only=int(device.partition(":")[2] or 0))


def connect(
    environ: Mapping[str, str] = os.environ,
    *,
    nvml: Any = None,
    only: int | None = None,
    seconds: float | None = None,
) -> NvmlProbe:
    """A probe of the GPUs this process may use. Raises Unavailable with the reason where there is none.

    They are the ones that CUDA itself names where torch has it running, else those CUDA_VISIBLE_DEVICES
    names.
    nvml: the module, or a double of it. only: the place of one of them among the visible. seconds: how
    long the driver may take, ANSWER_S if left out.
    """
    nvml, uuids = nvml or _bindings(), cuda_uuids()
    return answer_in_time(
        nvml,
        lambda: _connect(environ, nvml, uuids, only),
        seconds or ANSWER_S,
        late=lambda _: nvml.nvmlShutdown(),
    )


def _connect(
    environ: Mapping[str, str], nvml: Any, uuids: Sequence[str], only: int | None
) -> NvmlProbe:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise Unavailable(f"NVML does not start: {error}") from error
    try:
        order = environ.get("CUDA_DEVICE_ORDER")
        found = _readable(choose(nvml, environ.get("CUDA_VISIBLE_DEVICES"), uuids, order), only)
    except (nvml.NVMLError, AttributeError) as error:
        nvml.nvmlShutdown()
        raise Unavailable(f"NVML can't list the GPUs: {_reason(error)}") from error
    except Unavailable:
        nvml.nvmlShutdown()
        raise
    return NvmlProbe(nvml, found)


def _readable(visible: list[Device], only: int | None) -> list[Device]:
    """The devices to watch. Raises Unavailable where none of them can be read."""
    found = visible if only is None else visible[only : only + 1]
    if not found:
        raise Unavailable(f"there is no GPU number {only} among the {len(visible)} that are visible")
    reasons = [device.unreadable for device in found if device.unreadable is not None]
    if len(reasons) == len(found):
        raise Unavailable(reasons[0])
    return found


def _cuda_words(version: int) -> str:
    """12040 -> "12.4"."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _bindings() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise Unavailable("nvidia-ml-py is not installed; pip install nvidia-ml-py") from None
