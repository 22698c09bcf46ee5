"""A double of the module pynvml: GPUs as plain values, errors where a real driver gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

MIB = 1 << 20


class NVMLError(Exception):
    """As in pynvml, where every error is one of these."""


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


@dataclass
class FakeNvml:
    """`missing_driver`: nvmlInit fails. `lost`: every reading fails, as when a GPU falls off the bus."""

    gpus: list[Gpu]
    missing_driver: bool = False
    lost: bool = False
    started: int = 0
    NVMLError: type[Exception] = field(default=NVMLError)

    def nvmlInit(self) -> None:
        if self.missing_driver:
            raise NVMLError("NVML Shared Library Not Found")
        self.started += 1

    def nvmlShutdown(self) -> None:
        self.started -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        return self.gpus[index]

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: Gpu, place: int) -> Gpu:
        if place >= len(gpu.parts):
            raise NVMLError("Not Found")
        return Gpu(gpu.parts[place], gpu.name + " MIG 1g.10gb", parent=gpu)

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: Gpu) -> int:
        return 7

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in ANSWERS:
            raise AttributeError(name)

        def answer(gpu: Gpu | None = None, *more: Any) -> Any:
            if gpu is not None and (self.lost or name in gpu.unsupported or (gpu.parent and name not in OF_A_PART)):
                raise NVMLError("GPU is lost" if self.lost else "Not Supported")
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
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: 0x24,
    "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [object()] * gpu.processes,
    "nvmlSystemGetDriverVersion": lambda _: "570.1",
    "nvmlSystemGetCudaDriverVersion": lambda _: 12080,
    "nvmlSystemGetNVMLVersion": lambda _: "12.570.1",
}
OF_A_PART = {"nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo"}
