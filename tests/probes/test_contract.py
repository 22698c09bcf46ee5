"""What every probe promises, checked for each row of the table of probes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from fake_nvml import FakeNvml, Gpu

from harness.probes.base import Absent, Probe, ProbeRow, Sample, Unavailable
from harness.probes.gpm import open_gpm
from harness.probes.nvml import open_nvml
from harness.probes.sampler import Sampler
from harness.probes.summary import SOURCES, summarise
from harness.probes.table import PROBES, open_probes, probe_of
from harness.serialization import from_json, to_json

# How to open a probe where its hardware may be missing; a row without a line here is opened as in a run.
DOUBLES: dict[str, Callable[[], Probe]] = {
    "nvml": lambda: open_nvml("cuda", environ={}, nvml=FakeNvml([Gpu("GPU-1")])),
    "gpm": lambda: open_gpm("cuda", environ={}, nvml=FakeNvml([Gpu("GPU-1")])),
}
rows = pytest.mark.parametrize("row", PROBES, ids=lambda row: row.name)


def opened(row: ProbeRow) -> Probe:
    return DOUBLES.get(row.name, lambda: row.open("cpu"))()


@rows
def test_a_probe_is_a_context_manager_with_the_name_of_its_row(row: ProbeRow) -> None:
    with opened(row) as probe:
        assert probe.name == row.name


@rows
def test_samples_have_the_fields_of_the_row_and_a_reason_for_each_null(row: ProbeRow) -> None:
    with opened(row) as probe:
        samples = [sample for t_s in (0.0, 1.0) for sample in probe.sample(t_s)]
    assert samples
    for sample in samples:
        assert (sample.probe, set(sample.values)) == (row.name, set(row.fields))
        assert set(sample.missing) == {
            field for field, number in sample.values.items() if number is None
        }
        assert from_json(to_json(sample), Sample) == sample


@rows
def test_a_probe_is_sampled_and_left_in_one_thread(row: ProbeRow) -> None:
    threads = set()

    class Recording(Probe):
        name = row.name

        def sample(self, t_s: float) -> list[Sample]:
            threads.add(threading.current_thread().name)
            return opened_probe.sample(t_s)

        def close(self) -> None:
            threads.add(threading.current_thread().name)
            opened_probe.close()

    opened_probe = opened(row)
    taken: list[Sample] = []
    with Sampler([Recording()], taken.append, hz=100):
        pass
    assert threads == {f"probe-{row.name}"}
    assert taken


@rows
def test_no_two_probes_have_a_name_or_a_field_in_common(row: ProbeRow) -> None:
    others = [other for other in PROBES if other is not row]
    assert row.name not in {other.name for other in others}
    assert not set(row.fields) & {field for other in others for field in other.fields}


@rows
def test_without_samples_the_reason_names_the_probe_of_the_field(row: ProbeRow) -> None:
    missing = summarise([], [(0.0, 1.0)])["missing"]
    for name, field in SOURCES.items():
        if field in row.fields:
            assert missing[name] == f"the {row.name} probe gave no sample"
            assert probe_of(field) == row.name


def test_a_probe_that_is_not_available_records_its_reason_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str) -> Probe:
        raise Unavailable(f"no sensor for {device}")

    rows = (ProbeRow("disk", ("disk_temperature_c",), refuse),)
    monkeypatch.setattr("harness.probes.table.probe_rows", lambda: rows)
    (probe,) = open_probes("cpu")
    assert isinstance(probe, Absent)
    assert [sample.missing for sample in probe.sample(0.0)] == [{"available": "no sensor for cpu"}]
    assert probe.sample(1.0) == []
