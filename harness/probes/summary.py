"""Computes summary numbers from samples: counters over the training intervals, means, peaks, reasons
of nulls.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.probes.base import Sample
from harness.probes.nvml import throttle_words
from harness.probes.table import probe_of

Interval: TypeAlias = tuple[float, float]
Floats: TypeAlias = NDArray[np.float64]
Series: TypeAlias = tuple[Floats, Floats]  # times in seconds, values; days of samples stay some MB
GAP_S = 5.0  # training counts as watched if the samples reach this near to its ends
COUNTERS = {"energy_j", "cpu_s"}
# a GPU takes some watts even idle; a process that waits takes no CPU seconds
RISES_ALWAYS = {"energy_j"}
STILL_S = 5.0  # of training; NVML's counter of energy is updated some times a second
# means over training
ACTIVITY = (
    "sm_active_fraction",
    "tensor_active_fraction",
    "dram_active_fraction",
)
# reasons of lower clocks that are no throttling: nothing to do, or clocks that somebody chose
NO_TROUBLE = ("gpu_idle", "applications_clocks", "display_clocks")
ENERGIES = ("gpu_energy_integrated_j", "gpu_energy_disagreement", "gpu_j_per_image")
DETAIL_SOURCES = {  # field of the details: field of the samples
    "gpu_energy_integrated_j": "power_w",
    "gpu_idle_w": "power_w",
    "gpu_memory_used_peak_mib": "memory_used_mib",
    "compute_processes_peak": "compute_processes",
    "foreign_process_seen": "compute_processes",
}
SOURCES = {  # field of Summary: field of the samples
    "gpu_utilisation": "kernel_running_fraction",
    "gpu_energy_j": "energy_j",
    "cpu_utilisation": "cpu_s",
    "peak_memory_mib": "memory_mib",
    "peak_rss_mib": "rss_mib",
}


def summarise(
    samples: Iterable[Sample],
    during: Sequence[Interval],
    steady: Sequence[Interval] = (),
    steady_images: int = 0,
    concurrent: int = 1,
) -> dict[str, dict[str, Any]]:
    """`summary`: fields of Summary; `missing`: reasons of its nulls; `details`: more, for probes.json;
    `reasons`: of the details' nulls.

    during: the intervals of training, (start, end) in seconds of the samples' clock, in order and
    apart; many are fine. steady: those after the warm-up, with their number of images. concurrent: runs
    at a time on a GPU. Counters (energy, CPU seconds) are interpolated at the ends of each interval and
    differenced. Several GPUs: energies add up, utilisation is the mean. A counter that ran backwards or
    stood still gives null, and so does the energy of a GPU that runs share. GPU memory is of the whole
    device, by whatever process, hence a detail.
    """
    series, reasons = _collect(samples)
    watch = _Watched(series, reasons, during)
    energy, power, cpu_s = (
        watch.total("energy_j", _counter),
        watch.total("power_w", _integral),
        watch.total("cpu_s", _counter),
    )
    summary = {
        "gpu_utilisation": watch.mean("kernel_running_fraction"),
        "gpu_energy_j": energy,
        "cpu_utilisation": None if cpu_s is None else round(cpu_s / watch.length_s, 4),
        "peak_memory_mib": watch.peak("memory_mib"),
        "peak_rss_mib": watch.peak("rss_mib"),
    }
    missing = {name: watch.reason(SOURCES[name]) for name, number in summary.items() if number is None}
    steady_energy = _Watched(series, reasons, steady).total("energy_j", _counter)
    per_image = None if steady_energy is None or not steady_images else steady_energy / steady_images
    details = {
        "gpu_energy_integrated_j": power,
        "gpu_energy_disagreement": round(power / energy - 1, 4)
        if power is not None and energy
        else None,
        "gpu_j_per_image": None if per_image is None else round(per_image, 6),
        "gpu_idle_w": watch.idle("power_w"),
        "gpu_memory_used_peak_mib": watch.peak("memory_used_mib"),
        "compute_processes_peak": watch.peak("compute_processes"),
        "foreign_process_seen": _foreign(watch.peak("compute_processes"), concurrent),
        "throttled_s": watch.throttled(),
        **{field: watch.mean(field) for field in ACTIVITY},
    }
    if concurrent > 1 and (energy is not None or power is not None):
        shared = f"{concurrent} runs at a time shared the GPU, and its energy is that of them all"
        summary["gpu_energy_j"] = None
        missing["gpu_energy_j"] = shared
        details |= dict.fromkeys(ENERGIES)
        reasons |= dict.fromkeys(ENERGIES, shared)
    why = {
        name: _reason(name, watch, reasons, missing) for name, held in details.items() if held is None
    }
    return {"summary": summary, "missing": missing, "details": details, "reasons": why}


def doubts(details: Mapping[str, Any]) -> dict[str, str]:
    """What makes speed and energy of a GPU doubtful: a sentence by name. details: of `summarise`, or the
    probes.json of a record, which may be older.
    """
    found = {}
    if details.get("foreign_process_seen"):
        found["foreign_process"] = "another process computed on the GPU, so not everything is ours"
    slowed = {word: s for word, s in details.get("throttled_s", {}).items() if word not in NO_TROUBLE}
    if slowed:
        seconds = ", ".join(f"{word.replace('_', ' ')} {s:.1f} s" for word, s in slowed.items())
        found["throttled"] = f"the GPU's clocks were below their maximum: {seconds}"
    return found


def _foreign(processes: float | None, concurrent: int) -> bool | None:
    """Whether more processes computed on the GPU than the runs; None where NVML sees not even this one."""
    return processes > concurrent if processes else None


def _reason(detail: str, watch: _Watched, reasons: dict[str, str], missing: dict[str, str]) -> str:
    """Why a detail is null."""
    if detail in reasons:
        return reasons[detail]
    if detail == "foreign_process_seen" and watch.peak("compute_processes") is not None:
        return "NVML names no process here, not even this one"
    if detail == "gpu_idle_w" and watch.peak("power_w") is not None:
        return "no sample was taken before training with the GPU idle"
    if detail in ("gpu_energy_disagreement", "gpu_j_per_image"):
        return missing.get("gpu_energy_j", "there was too little training after the warm-up")
    return watch.reason(DETAIL_SOURCES.get(detail, detail))


class _Watched:
    """The samples by field and device, and the time of training as a function of the clock."""

    def __init__(
        self,
        series: dict[tuple[str, str], Series],
        reasons: dict[str, str],
        during: Sequence[Interval],
    ) -> None:
        self._series, self._reasons = series, reasons
        self._starts = np.array([start for start, _ in during], dtype=np.float64)
        self._ends = np.array([end for _, end in during], dtype=np.float64)
        self.length_s = float((self._ends - self._starts).sum())

    def _of(self, field: str) -> list[Series]:
        return [series for (_, name), series in self._series.items() if name == field]

    def total(self, field: str, cumulated: Callable[[Series, Floats], Floats]) -> float | None:
        """The rise over training, all devices; None unless each was watched all the time and counted
        right.
        """
        found = self._of(field)
        if not found or self.length_s <= 0 or not all(self._covered(times) for times, _ in found):
            return None
        if field in COUNTERS and self._counter_fault(field) is not None:
            return None
        rises = [cumulated(series, self._ends) - cumulated(series, self._starts) for series in found]
        return round(float(np.sum(rises)), 3)

    def _counter_fault(self, field: str) -> str | None:
        """Why the differences of a counter mean nothing, if so."""
        for times, values in self._of(field):
            for at in np.flatnonzero(np.diff(values) < 0)[:1]:
                fall = f"from {values[at]:.0f} to {values[at + 1]:.0f}"
                return f"the counter of {field} ran backwards, {fall}: it was reset or wrapped around"
            still_s = self._longest_still_s(times, values)
            if field in RISES_ALWAYS and (still_s > STILL_S or values[0] == values[-1]):
                return f"the counter of {field} stood still for {still_s:g} s of training"
        return None

    def _longest_still_s(self, times: Floats, values: Floats) -> float:
        """The most seconds of training for which the readings were one number."""
        firsts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
        lasts = np.concatenate([firsts[1:] - 1, [len(values) - 1]])
        trained_s = self._trained_s(times)
        return float((trained_s[lasts] - trained_s[firsts]).max())

    def _covered(self, times: Floats) -> bool:
        near = times[0] <= self._starts[0] + GAP_S and times[-1] >= self._ends[-1] - GAP_S
        return bool(times[-1] > times[0] and near)

    def mean(self, field: str) -> float | None:
        """Of the samples taken in training: the mean of the devices' means."""
        means = []
        for times, values in self._of(field):
            inside = values[self._in_training(times)]
            means += [float(inside.mean())] if len(inside) else []
        return round(sum(means) / len(means), 4) if means else None

    def _in_training(self, times: Floats) -> NDArray[np.bool_]:
        if not len(self._starts):
            return np.zeros(len(times), dtype=np.bool_)
        begun = np.searchsorted(self._starts, times, side="right") - 1
        return (begun >= 0) & (times <= self._ends[begun])

    def peak(self, field: str) -> float | None:
        return max((float(values.max()) for _, values in self._of(field)), default=None)

    def throttled(self) -> dict[str, float]:
        """Seconds of training in which each reason held, each sample counting until the next;
        devices add up.
        """
        held: dict[str, float] = defaultdict(float)
        for times, masks in self._of("throttle_mask"):
            seconds = np.diff(self._trained_s(times))
            for mask in np.unique(masks[:-1]):
                for word in throttle_words(int(mask)):
                    held[word] += float(seconds[masks[:-1] == mask].sum())
        return {word: round(seconds, 3) for word, seconds in sorted(held.items()) if seconds}

    def _trained_s(self, times: Floats) -> Floats:
        """How much of training had passed at each time."""
        if not len(self._starts):
            return np.zeros(len(times))
        bounds = np.stack([self._starts, self._ends], axis=1).ravel()
        steps = np.diff(bounds, prepend=bounds[0])
        steps[2::2] = 0.0  # between intervals nothing passes
        return np.interp(times, bounds, np.cumsum(steps))

    def reason(self, field: str) -> str:
        found, few = self._of(field), "too few samples during training"
        if found:
            watched = self.length_s > 0 and all(self._covered(times) for times, _ in found)
            return (self._counter_fault(field) if watched and field in COUNTERS else None) or few
        probe = probe_of(field)
        known = (self._reasons.get(field), self._reasons.get(f"{probe}.available"))
        return next((reason for reason in known if reason), f"the {probe} probe gave no sample")

    def idle(self, field: str) -> float | None:
        """The median over the samples before training in which no kernel ran; devices add up."""
        medians = []
        for (device, name), (times, values) in self._series.items():
            running = self._series.get((device, "kernel_running_fraction"))
            if name == field and running is not None and len(self._starts):
                still = np.interp(times, *running) == 0
                before = values[still & (times < self._starts[0])]
                medians += [float(np.median(before))] if len(before) else []
        return round(sum(medians), 2) if medians else None


def _collect(samples: Iterable[Sample]) -> tuple[dict[tuple[str, str], Series], dict[str, str]]:
    """The series of each (device, field), and the last reason why a field was null."""
    gathered: dict[tuple[str, str], tuple[array[float], array[float]]] = defaultdict(
        lambda: (array("d"), array("d"))
    )
    reasons: dict[str, str] = {}
    for sample in samples:
        for field, number in sample.values.items():
            if number is not None:
                times, values = gathered[sample.device, field]
                times.append(sample.t_s)
                values.append(number)
            else:
                name = f"{sample.probe}.available" if field == "available" else field
                reasons[name] = sample.missing.get(field, "no reason was given")
    return {
        key: (np.array(times), np.array(values)) for key, (times, values) in gathered.items()
    }, reasons


def _counter(series: Series, at: Floats) -> Floats:
    """A counter's reading at any time; beyond its ends it is carried on at its mean rate."""
    times, values = series
    rate = (values[-1] - values[0]) / (times[-1] - times[0])
    beyond = np.minimum(at - times[0], 0) + np.maximum(at - times[-1], 0)
    readings: Floats = np.interp(at, times, values) + rate * beyond
    return readings


def _integral(series: Series, at: Floats) -> Floats:
    """The integral of a rate up to any time, by trapezoids; beyond its ends the nearest reading
    counts.
    """
    times, values = series
    every = np.unique(np.concatenate([times, at]))
    rates = np.interp(every, times, values)
    areas = np.concatenate([[0.0], np.cumsum(np.diff(every) * (rates[1:] + rates[:-1]) / 2)])
    integrals: Floats = np.interp(at, every, areas)
    return integrals
