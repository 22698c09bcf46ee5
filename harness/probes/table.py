"""The table of probes. A new probe is one file and one row here; tests/probes/test_contract.py takes it up."""

from __future__ import annotations

from harness.probes import host, nvml
from harness.probes.base import Absent, Probe, ProbeRow, Unavailable

PROBES: tuple[ProbeRow, ...] = (
    ProbeRow("host", host.FIELDS, host.open_host),
    ProbeRow("nvml", nvml.FIELDS, nvml.open_nvml),
)


def open_probes(device: str) -> list[Probe]:
    """A probe for each row, for a run on `device`; one that is not available records its reason."""
    return [_open(row, device) for row in PROBES]


def _open(row: ProbeRow, device: str) -> Probe:
    try:
        return row.open(device)
    except Unavailable as reason:
        return Absent(row.name, str(reason))


def probe_of(field: str) -> str:
    """The name of the probe that gives a field of samples. Raises StopIteration for one that no row has."""
    return next(row.name for row in PROBES if field in row.fields)
