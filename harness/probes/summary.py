"""From samples to the numbers of a summary: counters over the training intervals, means, peaks, and why one is null."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from harness.probes.base import Sample
from harness.probes.nvml import throttle_words

Interval = tuple[float, float]
Series = list[tuple[float, float]]  # (t_s, value), in order
GAP_S = 5.0  # an interval counts as watched if the samples reach this near to its ends
NO_GPU = "no GPU was watched"
OF_THE_HOST = ("cpu_s", "rss_mib")


def summarise(samples: Iterable[Sample], during: Sequence[Interval]) -> dict[str, dict[str, Any]]:
    """`summary`: fields of Summary; `missing`: reasons of its nulls; `details`: more, for probes.json.

    during: the intervals of training, (start, end) in seconds of the samples' clock. Counters (energy, CPU seconds)
    are interpolated at the ends of each interval and differenced. Several GPUs: energies add up, utilisation is the
    mean. GPU memory peaks are of the whole device, by whatever process, and stand in the details for that.
    """
    series, reasons = _collect(samples)
    gpus = sorted(device for device, field in series if field == "kernel_running_fraction")
    energy = _over(series, "energy_j", during, _counted)
    power = _over(series, "power_w", during, _integrated)
    length_s = sum(end - start for start, end in during)
    cpu_s = _over(series, "cpu_s", during, _counted)
    rss = [value for _, value in series.get(("host", "rss_mib"), [])]
    summary = {
        "gpu_utilisation": _mean(series, gpus, during),
        "gpu_energy_j": energy,
        "cpu_utilisation": None if cpu_s is None or length_s <= 0 else round(cpu_s / length_s, 4),
        "peak_rss_mib": max(rss, default=None),
    }
    sources = {"gpu_utilisation": "kernel_running_fraction", "gpu_energy_j": "energy_j"}
    sources |= {"cpu_utilisation": "cpu_s", "peak_rss_mib": "rss_mib"}
    missing = {name: _reason(source, series, reasons) for name, source in sources.items() if summary[name] is None}
    details = {
        "gpu_energy_integrated_j": power,
        "gpu_energy_disagreement": round(power / energy - 1, 4) if power is not None and energy else None,
        "gpu_memory_used_peak_mib": _peak(series, "memory_used_mib"),
        "compute_processes_peak": _peak(series, "compute_processes"),
        "throttled_s": _throttled(series, during),
    }
    return {"summary": summary, "missing": missing, "details": details}


def _collect(samples: Iterable[Sample]) -> tuple[dict[tuple[str, str], Series], dict[str, str]]:
    """The series of each (device, field), and the last reason why a field was null."""
    series: dict[tuple[str, str], Series] = defaultdict(list)
    reasons: dict[str, str] = {}
    for sample in samples:
        for field, number in sample.values.items():
            if number is not None:
                series[sample.device, field].append((sample.t_s, float(number)))
            else:
                name = f"{sample.probe}.available" if field == "available" else field
                reasons[name] = sample.missing.get(field, "no reason was given")
    return series, reasons


def _reason(field: str, series: dict[tuple[str, str], Series], reasons: dict[str, str]) -> str:
    if any(name == field for _, name in series):
        return "too few samples during training"
    probes, otherwise = (
        (("host",), "the host was not watched") if field in OF_THE_HOST else (("nvml", "replay"), NO_GPU)
    )
    told = [reasons.get(field), *(reasons.get(f"{probe}.available") for probe in probes)]
    return next((reason for reason in told if reason), otherwise)


def _over(series: dict[tuple[str, str], Series], field: str, during: Sequence[Interval], measure: Any) -> float | None:
    """The sum over all devices and intervals; None if any of them was not watched."""
    found = [points for (_, name), points in series.items() if name == field]
    parts = [_part(points, interval, measure) for points in found for interval in during]
    if not parts or any(part is None for part in parts):
        return None
    return round(sum(part for part in parts if part is not None), 3)


def _part(points: Series, interval: Interval, measure: Any) -> float | None:
    times, values = np.array(points).T
    start, end = interval
    if len(times) < 2 or times[0] > start + GAP_S or times[-1] < end - GAP_S or times[0] >= end or times[-1] <= start:
        return None
    return float(measure(times, values, start, end))


def _counted(times: Any, values: Any, start: float, end: float) -> float:
    """The rise of a counter, carried on at its mean rate where the interval passes the first or last sample."""
    inner = (max(start, times[0]), min(end, times[-1]))
    rise = np.interp(inner[1], times, values) - np.interp(inner[0], times, values)
    return float(rise * (end - start) / (inner[1] - inner[0]))


def _integrated(times: Any, values: Any, start: float, end: float) -> float:
    """The integral of a rate by trapezoids, the nearest sample standing in beyond the first or last."""
    inside = times[(times > start) & (times < end)]
    at = np.concatenate([[start], inside, [end]])
    return float(np.trapezoid(np.interp(at, times, values), at))


def _mean(series: dict[tuple[str, str], Series], gpus: Sequence[str], during: Sequence[Interval]) -> float | None:
    means = []
    for gpu in gpus:
        points = series[gpu, "kernel_running_fraction"]
        inside = [value for t_s, value in points if any(start <= t_s <= end for start, end in during)]
        if inside:
            means.append(sum(inside) / len(inside))
    return round(sum(means) / len(means), 4) if means else None


def _peak(series: dict[tuple[str, str], Series], field: str) -> float | None:
    values = [value for (_, name), points in series.items() if name == field for _, value in points]
    return max(values, default=None)


def _throttled(series: dict[tuple[str, str], Series], during: Sequence[Interval]) -> dict[str, float]:
    """Seconds of training in which each reason held, a sample standing until the next; devices add up."""
    held: dict[str, float] = defaultdict(float)
    for (_, field), points in series.items():
        if field != "throttle_mask":
            continue
        for (t_s, mask), (until, _) in pairwise(points):
            seconds = sum(max(0.0, min(until, end) - max(t_s, start)) for start, end in during)
            for word in throttle_words(int(mask)) if seconds else ():
                held[word] += seconds
    return {word: round(seconds, 3) for word, seconds in sorted(held.items())}
