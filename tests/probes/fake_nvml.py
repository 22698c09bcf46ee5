"""A double of the module pynvml: GPUs as plain values, errors where a real driver gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

MIB = 1 << 20


class NVMLError(Exception):
    """As in pynvml, where every error is one of these, with NVML's number as `value`."""

    def __init__(self, message: str, value: int = 999) -> None:
        super().__init__(message)
        self.value = value


NOT_SUPPORTED, FUNCTION_NOT_FOUND, GPU_IS_LOST = 3, 13, 15


@dataclass
class Gpu:
    """`unsupported` holds names of calls that answer "Not Supported"; `parts` are the UUIDs of MIG instances."""

    uuid: str
    name: str = "NVIDIA Test GPU"
    unsupported: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()
    processes: int = 1
    parent: Gpu | None = None
    energy_mj: int = 5_000_000
    lost: bool = False
    gpm: bool = True
    metric_error: int = 0


@dataclass
class FakeNvml:
    """`missing_driver`: nvmlInit fails. `lost`: every reading of every GPU fails.

    binding_lacks: names that the installed binding does not have. driver_lacks: functions that the driver does not
    have. unreadable: indices for which NVML gives no handle.
    """

    gpus: list[Gpu]
    missing_driver: bool = False
    lost: bool = False
    started: int = 0
    NVMLError: type[Exception] = field(default=NVMLError)
    binding_lacks: frozenset[str] = frozenset()
    driver_lacks: frozenset[str] = frozenset()
    unreadable: frozenset[int] = frozenset()

    def nvmlInit(self) -> None:
        if self.missing_driver:
            raise NVMLError("NVML Shared Library Not Found")
        self.started += 1

    def nvmlShutdown(self) -> None:
        self.started -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        if index in self.unreadable:
            raise NVMLError("GPU is lost", GPU_IS_LOST)
        return self.gpus[index]

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: Gpu, place: int) -> Gpu:
        if place >= len(gpu.parts):
            raise NVMLError("Not Found")
        return Gpu(gpu.parts[place], gpu.name + " MIG 1g.10gb", parent=gpu)

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: Gpu) -> int:
        return 7

    NVML_GPM_METRICS_GET_VERSION = 1
    gpm_buffers = 0

    def nvmlGpmQueryDeviceSupport(self, gpu: Gpu) -> Any:
        return SimpleNamespace(isSupportedDevice=int(gpu.gpm))

    def nvmlGpmSampleAlloc(self) -> Any:
        self.gpm_buffers += 1
        return SimpleNamespace(gpu=None)

    def nvmlGpmSampleFree(self, taken: Any) -> None:
        self.gpm_buffers -= 1

    def nvmlGpmSampleGet(self, gpu: Gpu, taken: Any) -> None:
        if gpu.lost:
            raise NVMLError("GPU is lost", GPU_IS_LOST)
        taken.gpu = gpu

    def c_nvmlGpmMetricsGet_t(self) -> Any:
        return SimpleNamespace(metrics=[SimpleNamespace(metricId=0) for _ in range(98)])

    def nvmlGpmMetricsGet(self, asked: Any) -> None:
        """Each metric is twice its number, in percent."""
        assert asked.version == 1
        assert asked.sample1 is not asked.sample2
        for metric in asked.metrics[: asked.numMetrics]:
            metric.nvmlReturn, metric.value = asked.sample2.gpu.metric_error, 2.0 * metric.metricId

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in ANSWERS or name in self.binding_lacks:
            raise AttributeError(name)

        def answer(gpu: Gpu | None = None, *more: Any) -> Any:
            if name in self.driver_lacks:
                raise NVMLError("Function Not Found", FUNCTION_NOT_FOUND)
            if gpu is not None and (self.lost or gpu.lost):
                raise NVMLError("GPU is lost", GPU_IS_LOST)
            if gpu is not None and (name in gpu.unsupported or (gpu.parent and name not in OF_A_PART)):
                raise NVMLError("Not Supported", NOT_SUPPORTED)
            return ANSWERS[name](gpu)

        return answer


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
    "nvmlDeviceGetName": lambda gpu: gpu.name.encode(),  # older bindings answer in bytes
    "nvmlDeviceGetMigMode": lambda gpu: (int(bool(gpu.parts)), 0),
    "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=80, memory=30),
    "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=2048 * MIB, total=81920 * MIB),
    "nvmlDeviceGetPowerUsage": lambda gpu: 250_500,
    "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: gpu.energy_mj,
    "nvmlDeviceGetTemperature": lambda gpu: 61,
    "nvmlDeviceGetClockInfo": lambda gpu: 1755,
    "nvmlDeviceGetMaxClockInfo": lambda gpu: 1980,
    "nvmlDeviceGetPowerManagementLimit": lambda gpu: 700_000,
    "nvmlDeviceGetTemperatureV": lambda gpu: 62,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda gpu: 0x24,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: 0x20,
    "nvmlDeviceGetComputeRunningProcesses_v2": lambda gpu: [object()] * gpu.processes,
    "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [object()] * gpu.processes,
    "nvmlSystemGetDriverVersion": lambda _: "570.1",
    "nvmlSystemGetCudaDriverVersion": lambda _: 12080,
    "nvmlSystemGetNVMLVersion": lambda _: "12.570.1",
}
OF_A_PART = {"nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo"}
