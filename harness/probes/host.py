"""The host probe: CPU time, memory and I/O of this process, as reported by the operating system."""

from __future__ import annotations

from pathlib import Path

import psutil

from harness.limits import read_or_nothing
from harness.probes.base import Probe, Sample

MIB = float(1 << 20)
FIELDS = (
    "cpu_s",
    "memory_mib",
    "rss_mib",
    "cpu_utilisation",
    "system_cpu_fraction",
    "disk_read_mib",
    "disk_written_mib",
)
SHORTEST_S = 0.1  # the kernel counts CPU time in ticks of 0.01 s


class HostProbe(Probe):
    """CPU seconds, memory and I/O of one process (this one by default), threads included, children
    not.
    """

    name = "host"

    def __init__(self, process: psutil.Process | None = None) -> None:
        self._process = process or psutil.Process()
        self._last: tuple[float, float] | None = None  # (t_s, cpu_s)

    def sample(self, t_s: float) -> list[Sample]:
        """cpu_utilisation: CPU seconds per second of this process; system_cpu_fraction: of all
        processes and cores. rss_mib: memory_mib and the pages of mapped files, such as the images.
        """
        values: dict[str, float | int | None] = {}
        missing: dict[str, str] = {}
        with self._process.oneshot():
            times = self._process.cpu_times()
            values["cpu_s"] = cpu_s = times.user + times.system
            values["rss_mib"] = self._process.memory_info().rss / MIB
        values["memory_mib"] = memory_mib(self._process.pid)
        if values["memory_mib"] is None:
            missing["memory_mib"] = "this system does not tell a process's own memory from mapped files"
        last, self._last = self._last, (t_s, cpu_s)
        if last is None or t_s - last[0] < SHORTEST_S:
            values |= {"cpu_utilisation": None, "system_cpu_fraction": None}
            reason = f"it takes two samples at least {SHORTEST_S} s apart"
            missing |= dict.fromkeys(("cpu_utilisation", "system_cpu_fraction"), reason)
            psutil.cpu_percent(None)  # starts the interval of the next call
        else:
            values["cpu_utilisation"] = (cpu_s - last[1]) / (t_s - last[0])
            values["system_cpu_fraction"] = psutil.cpu_percent(None) / 100
        self._read_io(values, missing)
        return [Sample(t_s=t_s, probe=self.name, device="host", values=_short(values), missing=missing)]

    def _read_io(self, values: dict[str, float | int | None], missing: dict[str, str]) -> None:
        """Bytes read from and written to storage, without the page cache."""
        try:
            counters = self._process.io_counters()
        except (AttributeError, NotImplementedError, psutil.Error, OSError) as error:
            values |= {"disk_read_mib": None, "disk_written_mib": None}
            missing |= dict.fromkeys(
                ("disk_read_mib", "disk_written_mib"), f"not offered by this system: {error}"
            )
            return
        values |= {
            "disk_read_mib": counters.read_bytes / MIB,
            "disk_written_mib": counters.write_bytes / MIB,
        }


def memory_mib(pid: int, root: Path = Path("/")) -> float | None:
    """The memory of a process that only it can free; None where Linux does not tell.

    Resident memory counts the pages of mapped files, too, and most of a .beton file may be among them;
    but the system frees those when it needs memory. Memory shared with loader processes is counted.
    """
    return _status_mib(pid, root, "RssAnon", "RssShmem")


def peak_rss_mib(pid: int, root: Path = Path("/")) -> float | None:
    """The most resident memory that a process has had, mapped files included; None where Linux does
    not tell.

    getrusage's ru_maxrss is no less than that of the process that started this one.
    """
    return _status_mib(pid, root, "VmHWM")


def _status_mib(pid: int, root: Path, *names: str) -> float | None:
    lines = read_or_nothing(root / f"proc/{pid}/status").splitlines()
    held = dict(line.split(":", 1) for line in lines if ":" in line)
    try:
        return sum(int(held[name].split()[0]) for name in names) / 1024  # from KiB
    except (LookupError, ValueError):
        return None


def open_host(device: str) -> HostProbe:
    """The probe of this process, whatever the device of the run."""
    return HostProbe()


def _short(values: dict[str, float | int | None]) -> dict[str, float | int | None]:
    return {
        key: round(number, 4) if isinstance(number, float) else number for key, number in values.items()
    }
