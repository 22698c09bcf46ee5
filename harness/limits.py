"""How many cores and how much memory this process may use: by affinity, and by its container's
limits (cgroups).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil

MIB = 1 << 20


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process can keep busy: by affinity and by the cgroup's quota, at least 1."""
    quota = cpu_quota(root)
    return affinity_cores() if quota is None else max(1, min(affinity_cores(), math.floor(quota)))


def affinity_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The smallest limit of CPU time that holds, in cores."""
    limits = []
    for folder in _cgroups(root):
        quota, _, period = read_or_nothing(folder / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = (
                read_or_nothing(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")
            )
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def memory_limit_mib(root: Path = Path("/")) -> int:
    """What the process may use: the machine's memory or a smaller cgroup limit."""
    limits = [psutil.virtual_memory().total]
    for folder in _cgroups(root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            said = read_or_nothing(folder / name).strip()
            limits += [int(said)] if said.isdecimal() else []
    return min(limits) // MIB


def _cgroups(root: Path) -> list[Path]:
    """The cgroup folders of this process that may hold limits, v2 and v1, from its own up to the
    root.
    """
    found = []
    for line in read_or_nothing(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        home = root / "sys/fs/cgroup" / controllers
        own = home / place.lstrip("/")
        found += [folder for folder in (own, *own.parents) if folder == home or home in folder.parents]
    return found


def read_or_nothing(path: Path) -> str:
    """The text of a file of the kernel; empty where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
