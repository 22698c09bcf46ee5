"""Times several functions alternately in one process, so that other load on the machine slows all of
them equally, after a warm-up that ends when their speeds no longer change.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import geometric_mean, median
from typing import TypeAlias

from scipy.stats import binom

from harness.records.bench import Ratio, Timing

# The warm-up ends once the speeds have no trend. The median of the last SPAN rounds (a window of each way)
# differs from that of the SPAN rounds before: for the geometric mean of all ways' speeds by less than STEADY,
# or by less than half the range of those rounds, since noise that wide hides a smaller trend; and for no
# single way by STEADY_EACH. It ends after MOST_WARM_UPS rounds in any case, which is then said.
SPAN = 3
STEADY = 0.05
STEADY_EACH = 0.25
MOST_WARM_UPS = 20


@dataclass(frozen=True)
class Elsewhere:
    """The work of a window that another, living process did: its images and CPU seconds."""

    images: int
    cpu_s: float


Way: TypeAlias = Callable[[], int | Elsewhere]  # does one window of work; returns the number of images


@dataclass(frozen=True)
class Window:
    """One window: its ends on the clock of time.perf_counter, its images, and its CPU seconds."""

    start_s: float
    end_s: float
    images: int
    cpu_s: float

    @property
    def speed(self) -> float:
        return self.images / max(self.end_s - self.start_s, 1e-9)

    @property
    def cpu_speed(self) -> float:
        return self.images / max(self.cpu_s, 1e-9)


@dataclass
class Windows:
    """The measured windows of each way, in the order of time.

    warm_ups: windows of each way before them. steady: whether the warm-up ended by its rule.
    """

    warm_ups: int
    steady: bool
    of: dict[str, list[Window]] = field(default_factory=dict)

    def timing(self, name: str) -> Timing:
        speeds = [window.speed for window in self.of[name]]
        low, high, coverage = median_interval(speeds)
        return Timing(
            windows=len(speeds),
            images_per_second=median(speeds),
            low=low,
            high=high,
            coverage=coverage,
            lowest=min(speeds),
            highest=max(speeds),
            images_per_cpu_second=median(window.cpu_speed for window in self.of[name]),
        )

    def timings(self) -> dict[str, Timing]:
        return {name: self.timing(name) for name in self.of}

    def ratio(self, name: str, other: str) -> Ratio:
        """How many times as fast `name` is as `other`, by pairs of windows that followed each other."""
        pairs = list(zip(self.of[name], self.of[other], strict=True))
        ratios = [ours.speed / theirs.speed for ours, theirs in pairs]
        low, high, coverage = median_interval(ratios)
        return Ratio(
            per_second=median(ratios),
            low=low,
            high=high,
            coverage=coverage,
            per_cpu_second=median(ours.cpu_speed / theirs.cpu_speed for ours, theirs in pairs),
        )

    def intervals(self, name: str) -> list[tuple[float, float]]:
        """When the windows of one way were, in seconds of time.perf_counter."""
        return [(window.start_s, window.end_s) for window in self.of[name]]

    def images(self, name: str) -> int:
        return sum(window.images for window in self.of[name])


def interleaved(ways: Mapping[str, Way], windows: int) -> Windows:
    """Call the functions alternately, one window each, `windows` times, after the warm-up."""
    measured = _warm_up(ways)
    measured.of = {name: [] for name in ways}
    for _ in range(windows):
        for name, way in ways.items():
            measured.of[name].append(_window(way))
    return measured


def median_interval(numbers: list[float]) -> tuple[float, float, float]:
    """The narrowest pair of order statistics that holds the median with probability 0.95 or more, and
    that probability; with fewer than 6 numbers the lowest and the highest.

    It assumes only that the numbers are independent draws from one distribution.
    """
    ordered, n = sorted(numbers), len(numbers)
    left_out = max(0, int(binom.ppf(0.025, n, 0.5)) - 1)  # at each end
    coverage = 1 - 2 * float(binom.cdf(left_out, n, 0.5))
    return ordered[left_out], ordered[n - 1 - left_out], max(coverage, 0.0)


def _warm_up(ways: Mapping[str, Way]) -> Windows:
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for done in range(1, MOST_WARM_UPS + 1):
        for name, way in ways.items():
            speeds[name].append(_window(way).speed)
        if done >= 2 * SPAN and _are_steady(list(speeds.values())):
            return Windows(done, True)
    return Windows(MOST_WARM_UPS, False)


def _are_steady(ways: list[list[float]]) -> bool:
    rounds = [geometric_mean(speeds) for speeds in zip(*ways, strict=True)][-2 * SPAN :]
    noise = (max(rounds) - min(rounds)) / 2 / median(rounds[:SPAN])
    return _change(rounds) < max(STEADY, noise) and all(_change(way) < STEADY_EACH for way in ways)


def _change(speeds: list[float]) -> float:
    """Of the median of the last SPAN speeds against that of the SPAN before, as a fraction."""
    return abs(median(speeds[-SPAN:]) / median(speeds[-2 * SPAN : -SPAN]) - 1)


def _window(way: Way) -> Window:
    """CPU seconds are those of this process, of its children that ended, and of work elsewhere."""
    start_s, cpu_s = time.perf_counter(), _cpu_s()
    done = way()
    end_s, cpu_s = time.perf_counter(), _cpu_s() - cpu_s
    if isinstance(done, Elsewhere):
        return Window(start_s, end_s, done.images, cpu_s + done.cpu_s)
    return Window(start_s, end_s, done, cpu_s)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
