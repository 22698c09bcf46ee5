"""Times several functions alternately in one process, so that other load on the machine slows all of
them equally.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

# the warm-up of a function ends once two windows in a row differ by less than this fraction
STEADY = 0.1
MOST_WARMUPS = 10


@dataclass(frozen=True)
class Timing:
    """Over `windows` windows: median, lowest and highest images per second, and the median per CPU
    second.
    """

    windows: int
    images_per_second: float
    lowest: float
    highest: float
    images_per_cpu_second: float

    def plain(self) -> dict[str, float | int]:
        return {name: round(held, 2) for name, held in vars(self).items()}


def interleaved(ways: Mapping[str, Callable[[], int]], windows: int) -> dict[str, Timing]:
    """Call the functions alternately, one window each, `windows` times, after a warm-up until all are
    steady.

    A way does one window of work and returns the number of its images.
    """
    _warm_up(ways)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(windows):
        for name, way in ways.items():
            measured[name].append(_speed(way))
    return {name: _summary(speeds) for name, speeds in measured.items()}


def _warm_up(ways: Mapping[str, Callable[[], int]]) -> None:
    last = {name: _speed(way)[0] for name, way in ways.items()}
    for _ in range(MOST_WARMUPS):
        speeds = {name: _speed(way)[0] for name, way in ways.items()}
        if all(abs(speeds[name] / last[name] - 1) < STEADY for name in ways):
            return
        last = speeds


def _speed(way: Callable[[], int]) -> tuple[float, float]:
    """Images per second, and per CPU second of this process and the children that ended."""
    start, cpu = time.perf_counter(), _cpu_s()
    images = way()
    return images / (time.perf_counter() - start), images / max(_cpu_s() - cpu, 1e-9)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _summary(speeds: list[tuple[float, float]]) -> Timing:
    wall = [each for each, _ in speeds]
    return Timing(len(wall), median(wall), min(wall), max(wall), median(each for _, each in speeds))
