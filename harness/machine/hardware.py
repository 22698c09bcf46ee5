"""The machine as this process may use it: the processor and its limits (harness/limits.py), GPUs by
NVML, the disk.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.limits import (
    MIB,
    affinity_cores,
    cpu_quota,
    memory_limit_mib,
    read_or_nothing,
    usable_cores,
)
from harness.machine.environment import Cpu
from harness.probes.base import Unavailable
from harness.probes.gpus import Gpu
from harness.probes.nvml import DriverVersions, connect


def cpu(root: Path = Path("/")) -> Cpu:
    """The processor, and what of it and of the memory this process may use."""
    return Cpu(
        model=_model(root),
        cores_affinity=affinity_cores(),
        cores_quota=cpu_quota(root),
        cores_usable=usable_cores(root),
        memory_mib=memory_limit_mib(root),
    )


def _model(root: Path) -> str:
    for line in read_or_nothing(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpus(
    missing: dict[str, str], nvml: Any = None, *, seconds: float | None = None
) -> tuple[tuple[Gpu, ...], DriverVersions]:
    """The visible GPUs as NVML describes them, and the versions of the driver; reasons of nulls in
    `missing`.

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


def visible_gpus(environ: Mapping[str, str] = os.environ, *, nvml: Any = None) -> list[str]:
    """UUIDs of the GPUs that this process may use; empty if NVML finds none.

    A process that uses CUDA for this would hold a context, and so memory, on every GPU until it ends.
    nvml: a replacement of the module, for tests.
    """
    try:
        probe = connect(environ, nvml=nvml)
    except Unavailable:
        return []
    with probe:
        return probe.readable_uuids()


def disk_free_mib(folder: Path) -> int | None:
    """Free space where the folder is or would be; None where the system does not say."""
    try:
        place = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
        return shutil.disk_usage(place).free // MIB
    except OSError:
        return None
