"""Records of schema version 1 stay readable: one that this project sealed and committed under that version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.events import LrChanged, StepsDone
from harness.records.record import RunRecord
from harness.records.store import Store
from harness.records.tables import curves_table, runs_table
from harness.records.verify import verify

(OLD,) = (Path(__file__).parent / "schema_1").iterdir()


def test_it_is_whole_and_was_sealed_under_another_digest_than_it_has_now() -> None:
    record = RunRecord.load(OLD)
    assert verify(OLD) == []
    assert "schema_version" not in record.env
    assert record.spec.digest != record.summary.spec_digest


def test_its_recipe_and_events_have_the_present_names() -> None:
    record = RunRecord.load(OLD)
    recipe = record.spec.recipe
    assert (recipe.lr, recipe.lr_inside_velocity, recipe.late_changes) == (0.01, True, ())
    assert recipe.augmentation.images_per_draw == 1
    rates = [event.lr for event in record.events() if isinstance(event, StepsDone)]
    assert (rates[0], rates[-1]) == (0.01, pytest.approx(0.001))
    assert [event.lr for event in record.events() if isinstance(event, LrChanged)] == [pytest.approx(0.001)]


def test_it_stands_in_the_tables() -> None:
    record = RunRecord.load(OLD)
    assert runs_table([record])["variant"].tolist() == ["no_lrn", "no_lrn"]
    assert curves_table([record])["lr"].max() == 0.01


def test_it_counts_as_finished_by_its_contents(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / OLD.name)
    record = RunRecord.load(OLD)
    assert Store(tmp_path).finished(record.env["machine_id"]) == {record.spec.digest}


def test_a_record_of_a_version_to_come_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD, tmp_path / OLD.name)
    env = folder / "env.json"
    env.write_text(env.read_text().replace('"python"', '"schema_version": 99, "python"'))
    with pytest.raises(RecordError, match="its schema_version is 99; this harness reads 1 to 2"):
        RunRecord.load(folder)
