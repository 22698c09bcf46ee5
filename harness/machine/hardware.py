"""The machine as this process may use it: cores by affinity and quota, memory by limit, GPUs by NVML."""

from __future__ import annotations

import math
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from harness.machine.environment import Cpu
from harness.probes.base import Unavailable
from harness.probes.devices import Gpu
from harness.probes.nvml import DriverVersions, connect

MIB = 1 << 20


def cpu(root: Path = Path("/")) -> Cpu:
    """The processor, and what of it and of the memory this process may use."""
    return Cpu(
        model=_model(root),
        cores_affinity=_affinity(),
        cores_quota=cpu_quota(root),
        cores_usable=usable_cores(root),
        memory_mib=memory_limit_mib(root),
    )


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process can keep busy: by affinity and by the cgroup's quota, at least 1."""
    quota = cpu_quota(root)
    return _affinity() if quota is None else max(1, min(_affinity(), math.floor(quota)))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _model(root: Path) -> str:
    for line in _read(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cgroups(root: Path) -> list[Path]:
    """The cgroup folders of this process that may hold limits, v2 and v1, from its own up to the root."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        home = root / "sys/fs/cgroup" / controllers
        own = home / place.lstrip("/")
        found += [folder for folder in (own, *own.parents) if folder == home or home in folder.parents]
    return found


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The smallest limit of CPU time that holds, in cores."""
    limits = []
    for folder in _cgroups(root):
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = (_read(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit_mib(root: Path = Path("/")) -> int:
    """What the process may use: the machine's memory or a smaller cgroup limit."""
    limits = [psutil.virtual_memory().total]
    for folder in _cgroups(root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            said = _read(folder / name).strip()
            limits += [int(said)] if said.isdecimal() else []
    return min(limits) // MIB


def gpus(
    missing: dict[str, str], nvml: Any = None, *, seconds: float | None = None
) -> tuple[tuple[Gpu, ...], DriverVersions]:
    """The visible GPUs as NVML describes them, and the versions of the driver; reasons of nulls in `missing`.

    seconds: how long NVML may take; a driver that hangs counts as none.
    """
    try:
        with connect(nvml=nvml, seconds=seconds) as probe:
            found, versions, nulls = probe.describe(seconds)
    except Unavailable as reason:
        missing |= dict.fromkeys(("gpus", "driver", "driver_cuda", "nvml"), str(reason))
        return (), DriverVersions(None, None, None)
    missing |= nulls
    return found, versions


def disk_free_mib(folder: Path) -> int | None:
    """Free space where the folder is or would be."""
    for place in (folder, *folder.absolute().parents):
        if place.is_dir():
            return shutil.disk_usage(place).free // MIB
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
