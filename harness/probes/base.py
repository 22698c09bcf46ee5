"""The interface of probes.

Each probe is sampled in its own thread; its failures are recorded, not raised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from variants.values import value


@value
class Sample:
    """One sample.

    The keys of `values` include units; a null has its reason under the same key in `missing`.
    """

    t_s: float  # seconds since the run's clock started
    probe: str  # its name in the table of probes
    device: str  # GPU UUID, or "host"
    values: dict[str, float | int | None]
    missing: dict[str, str]


class Unavailable(Exception):  # not an error: this machine has no such device
    """The probe can't be used here; the message is the reason, which is recorded."""


class Probe(ABC):
    """A context manager around something to sample; leaving the block releases what it holds.

    The sampler calls `sample` and leaves the block in the probe's own thread. An exception of `sample`
    counts as a failure of the whole probe; a field that can't be read is null in `values`, with its
    reason in `missing`.
    """

    name: str

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def sample(self, t_s: float) -> list[Sample]:
        """One sample of each device, at time t_s in seconds of the run's clock."""

    def close(self) -> None:  # noqa: B027  # most probes hold nothing
        """Release what the probe holds."""


@dataclass(frozen=True)
class ProbeRow:
    """A row of the table of probes.

    fields: every key of its samples' `values`. open: the probe of a run on a device of torch's naming
    ("cpu", "cuda:1"); raises Unavailable where there is none.
    """

    name: str
    fields: tuple[str, ...]
    open: Callable[[str], Probe]


class Absent(Probe):
    """Replaces a probe that is not available: gives one sample, with the reason."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason
        self._sampled = False

    def sample(self, t_s: float) -> list[Sample]:
        if self._sampled:
            return []
        self._sampled = True
        return [unavailable(self.name, t_s, self._reason)]


def unavailable(probe: str, t_s: float, reason: str) -> Sample:
    """The one sample of a probe that can't be read at all."""
    return Sample(
        t_s=t_s, probe=probe, device=probe, values={"available": None}, missing={"available": reason}
    )
