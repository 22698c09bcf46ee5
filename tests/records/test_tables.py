"""Records as tables, and events through JSON and back."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from fake_run import ENV, NOON, SPEC, STEPS, write_run
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from harness.bounds import LARGEST
from harness.errors import RecordError
from harness.events import Evaluated, Event, LrChanged, StepsDone, TrainingDone, TrainingStarted
from harness.records.record import Stamped
from harness.records.store import RunRecord, Store
from harness.records.tables import curves_table, runs_table, telemetry_table
from harness.serialization import from_json, to_json

EVENTS = (TrainingStarted, StepsDone, Evaluated, LrChanged, TrainingDone)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)  # JSON knows no NaN, and no event holds one
OF_TYPE: dict[str, st.SearchStrategy[object]] = {
    "float": FLOATS,
    "Fraction": st.floats(0, 1),
    "Fraction | None": st.none() | st.floats(0, 1),
    "Amount": st.floats(0, LARGEST),
    "Count": st.integers(0, LARGEST),
    "Size": st.integers(1, LARGEST),
    "Losses": st.lists(FLOATS, min_size=1).map(tuple),
}


def any_event() -> st.SearchStrategy[Event]:
    return st.one_of(*(st.builds(kind, **_numbers(kind)) for kind in EVENTS))


def _numbers(kind: type) -> dict[str, st.SearchStrategy[object]]:
    return {field.name: OF_TYPE[str(field.type)] for field in fields(kind) if field.type in OF_TYPE}


@given(t_s=FLOATS, event=any_event())
def test_any_event_comes_back_equal(t_s: float, event: Event) -> None:
    stamped = Stamped(t_s=t_s, event=event)
    assert from_json(to_json(stamped), Stamped) == stamped


@given(event=any_event(), name=st.sampled_from(["kind", "step", "more"]))
def test_an_event_with_a_foreign_field_is_refused(event: Event, name: str) -> None:
    plain = TypeAdapter(type(event)).dump_python(event)
    wrong = TypeAdapter(dict).dump_json({"t_s": 0.0, "event": {**plain, name: "foreign"}})
    with pytest.raises(RecordError, match="not a valid Stamped: event"):
        from_json(wrong, Stamped)


def test_runs_have_a_row_for_each_protocol_and_one_without_result(tmp_path: Path) -> None:
    write_run(tmp_path)
    with Store(tmp_path).open(SPEC, ENV, now=lambda: NOON + timedelta(hours=1)):
        pass
    table = runs_table(Store(tmp_path).records())
    assert table["protocol"].tolist()[0] == "centre"
    assert table["status"].tolist() == ["ok", "failed"]
    first = table.iloc[0]
    assert (first["variant"], first["geometry"], first["recipe"], first["seed"]) == (
        "tiny",
        "mini",
        "mini",
        0,
    )
    assert first["top1_error"] == pytest.approx(4 / 9)
    assert first["images_per_second"] == 40.0
    assert "precision fp32" in first["bench_key"]
    assert table["top1_error"].isna().tolist() == [False, True]


def test_curves_count_images_seen_and_average_a_windows_losses(tmp_path: Path) -> None:
    evaluated = Evaluated(
        step=2, epoch=0.5, protocol="centre", final=True, top1_error=0.25, top5_error=0, loss=0.5, images=9, elapsed_s=0
    )  # fmt: skip
    with Store(tmp_path).open(SPEC, ENV) as writer:
        for event in (
            TrainingStarted(steps=2, images_per_epoch=8, parameters=1),
            STEPS,
            STEPS,
            evaluated,
        ):
            writer.event(event)
        path = writer.fail("failed", "for the test")
    table = curves_table([RunRecord.load(path)])
    assert table["curve"].tolist() == ["training", "training", "centre"]
    assert table["images_seen"].tolist() == [8, 16, 16]
    assert table["loss"].tolist() == pytest.approx([0.65, 0.65, 0.5])
    assert table["lr"].isna().tolist() == [False, False, True]


def test_telemetry_is_one_row_a_reading(tmp_path: Path) -> None:
    table = telemetry_table([RunRecord.load(write_run(tmp_path))])
    assert table[["t_s", "probe", "field", "value"]].to_numpy().tolist() == [
        [0.5, "host", "cpu_s", 1.5]
    ]


def test_no_records_make_empty_tables() -> None:
    assert [len(make([])) for make in (runs_table, curves_table, telemetry_table)] == [0, 0, 0]


def test_older_records_say_why_they_have_no_memory_without_mapped_files() -> None:
    (old,) = (Path(__file__).parent / "schema_2").iterdir()
    summary = RunRecord.load(old).summary
    assert summary.peak_memory_mib is None
    assert summary.peak_rss_mib is not None
    assert summary.missing["peak_memory_mib"] == "older records have peak_rss_mib only"
