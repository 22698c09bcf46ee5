"""The table of probes.

A new probe is one file and one row here; tests/probes/test_contract.py tests it, too.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache

from harness.probes import gpm, host, nvml
from harness.probes.base import Absent, Probe, ProbeRow, Unavailable
from variants.plugins import added

PROBES: tuple[ProbeRow, ...] = (
    ProbeRow("host", host.FIELDS, host.open_host),
    ProbeRow("nvml", nvml.FIELDS, nvml.open_nvml),
    ProbeRow("gpm", gpm.FIELDS, gpm.open_gpm),
)


@cache
def probe_rows() -> tuple[ProbeRow, ...]:
    """The project's rows, then those that installed packages add. Raises SpecError."""
    return (*PROBES, *added("probes", ProbeRow))


def open_probes(device: str, names: Container[str] | None = None) -> list[Probe]:
    """A probe for each row, for a run on `device`; one that is not available records its reason.

    names: of the rows that are wanted; all if left out.
    """
    return [_open(row, device) for row in probe_rows() if names is None or row.name in names]


def _open(row: ProbeRow, device: str) -> Probe:
    try:
        return row.open(device)
    except Unavailable as reason:
        return Absent(row.name, str(reason))


def probe_of(field: str) -> str:
    """The name of the probe that gives a field of samples.

    Raises StopIteration for one that no row has.
    """
    return next(row.name for row in probe_rows() if field in row.fields)
