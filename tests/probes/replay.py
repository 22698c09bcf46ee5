"""A recorded trace in place of a GPU, for tests without hardware."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.errors import RecordError, UsageError
from harness.probes.base import Probe, Sample
from harness.serialization import from_json, to_json

SYNTHETIC = "GPU-synthetic-trace-not-a-measurement"
LIMIT = 64 << 20


class ReplayProbe(Probe):
    """Plays back a file of one Sample a line: at time t each device's last sample up to t; after its end, nothing."""

    name = "replay"

    def __init__(self, path: Path) -> None:
        self._trace = _read(path)

    def sample(self, t_s: float) -> list[Sample]:
        if t_s > self._trace[-1].t_s:
            return []
        latest = {sample.device: sample for sample in self._trace if sample.t_s <= t_s}
        return [replace(sample, t_s=t_s, probe=self.name) for sample in latest.values()]


def _read(path: Path) -> list[Sample]:
    try:
        if path.stat().st_size > LIMIT:
            raise UsageError(f"{path} is larger than {LIMIT} bytes; a trace to replay must be shorter")
        trace = [from_json(line, Sample) for line in path.read_bytes().splitlines()]
    except (OSError, RecordError) as error:
        raise UsageError(f"{path} can't be replayed: {error}") from error
    if not trace:
        raise UsageError(f"{path} can't be replayed: it has no samples")
    return sorted(trace, key=lambda sample: sample.t_s)


def write_synthetic_trace(path: Path, *, seconds: float, hz: float = 2.0, seed: int = 0) -> None:
    """Writes an invented GPU's trace; every line says so in its device. Never a measurement, and none may be quoted.

    The load rises and falls in periods of 20 s (training, then evaluation); power follows it, the energy counter is
    the integral of power, the temperature lags behind, and above 70 degrees C the power cap shows as throttling.
    """
    lines = [to_json(sample) for sample in _invented(seconds, hz, random.Random(seed))]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _invented(seconds: float, hz: float, chance: random.Random) -> Iterator[Sample]:
    energy_j, temperature_c, power_w = 1000.0, 35.0, 60.0
    for tick in range(math.floor(seconds * hz) + 1):
        t_s = tick / hz
        busy = 0.93 if t_s % 20 < 15 else 0.35
        busy = min(1.0, max(0.0, busy + chance.gauss(0, 0.02)))
        energy_j += power_w / hz if tick else 0.0
        power_w = 60 + 240 * busy
        temperature_c += (30 + 45 * busy - temperature_c) * 0.1
        values: dict[str, float | int | None] = {
            "kernel_running_fraction": round(busy, 2),
            "memory_access_fraction": round(busy * 0.6, 2),
            "memory_used_mib": 3072.0,
            "power_w": round(power_w, 1),
            "energy_j": round(energy_j, 3),
            "temperature_c": round(temperature_c),
            "sm_clock_mhz": 1755 if temperature_c < 70 else 1620,
            "memory_clock_mhz": 1593,
            "throttle_mask": 0 if temperature_c < 70 else 4,
            "compute_processes": 1,
        }
        yield Sample(t_s=t_s, probe="replay", device=SYNTHETIC, values=values, missing={})
