"""What a probe is: something that can be sampled at a rate, from a thread of its own, with its failures recorded."""

from __future__ import annotations

from typing import Any, Protocol

from variants.values import value


@value
class Sample:
    """One reading. Units stand in the keys of `values`; a null has its reason under the same key in `missing`."""

    t_s: float  # seconds since the run's clock started
    probe: str  # "nvml", "host", "replay"
    device: str  # GPU UUID, or "host"
    values: dict[str, float | int | None]
    missing: dict[str, str]


def unavailable(probe: str, t_s: float, reason: str) -> Sample:
    """The one sample of a probe that can't be read at all."""
    return Sample(t_s=t_s, probe=probe, device=probe, values={"available": None}, missing={"available": reason})


class Probe(Protocol):
    """`describe` names the devices and what can't be read of them, with reasons; `sample` reads all of them once."""

    name: str

    def describe(self) -> list[dict[str, Any]]: ...

    def sample(self, t_s: float) -> list[Sample]: ...

    def close(self) -> None: ...
