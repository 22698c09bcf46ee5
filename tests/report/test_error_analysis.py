"""Mistakes by class, calibration, and images that all seeds get wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from study_records import Study

from harness.evaluate import CALIBRATION_BINS, _count_answers, _empty, analysis
from harness.records.record import RunRecord
from harness.records.schema import Analysis, Bin
from harness.records.store import Store
from harness.report.build import build
from harness.report.error_analysis import expected_calibration_error
from harness.report.model import Figure, Paragraph
from harness.tables import Table

CLASSES = tuple(f"class {label}" for label in range(10))


def counted(labels: list[int], answers: list[int], confidence: list[float]) -> Analysis:
    into = _empty(len(labels), 10, boxed=False)
    _count_answers(into, np.array(labels), np.array(answers), np.array(confidence))
    return analysis("centre", into, CLASSES)


def test_answers_are_counted_by_label_and_by_confidence() -> None:
    found = counted([0, 0, 1, 9], [0, 1, 1, 9], [0.99, 0.99, 0.5, 1.0])
    assert found.confusion is not None
    assert (
        found.confusion[0][0],
        found.confusion[0][1],
        found.confusion[1][1],
        found.confusion[9][9],
    ) == (1, 1, 1, 1)
    assert sum(map(sum, found.confusion)) == 4
    assert len(found.calibration) == CALIBRATION_BINS
    assert found.calibration[-1] == Bin(
        images=3, confidence=pytest.approx(2.98 / 3), right=pytest.approx(2 / 3)
    )
    assert found.calibration[0] == Bin(images=0, confidence=None, right=None)


def test_the_expected_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    """Half of the images at 0.9 with all right, the other half at 0.5 with none right: (0.1 + 0.5) / 2."""
    found = counted([0, 0, 1, 1], [0, 0, 2, 2], [0.9, 0.9, 0.5, 0.5])
    assert expected_calibration_error(found) == pytest.approx(0.3)


def test_a_network_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    rng = torch.Generator().manual_seed(0)
    confidence = torch.rand(20_000, generator=rng).double().numpy()
    right = torch.rand(20_000, generator=rng).double().numpy() < confidence
    labels = np.zeros(20_000, dtype=np.int64)
    found = counted(list(labels), list(np.where(right, 0, 1)), list(confidence))
    assert expected_calibration_error(found) < 0.02  # about sqrt(p (1 - p) / 1333) a bin


def test_many_classes_have_no_confusion_matrix_in_the_record() -> None:
    into = _empty(1, 101, boxed=False)
    assert analysis("centre", into, [str(label) for label in range(101)]).confusion is None


def records(study: Study, monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    made = [study.run(study.spec("no_lrn", seed), 0.2) for seed in (0, 1)]
    found = counted([0] * 10 + [1] * 10, [0] * 8 + [1] * 2 + [1] * 5 + [0] * 5, [0.8] * 20)
    monkeypatch.setattr(RunRecord, "analysis", lambda run: found)
    return made


def test_the_section_shows_classes_confusion_calibration_and_hard_images(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = records(study, monkeypatch)
    section = next(one for one in build("reproduce", made).sections if one.title == "Mistakes")
    classes, calibration = (block for block in section.blocks if isinstance(block, Table))
    assert classes.rows[0] == ("class 2", "100.0") or classes.rows[0][0] in CLASSES
    assert dict(row[:2] for row in classes.rows)["class 1"] == "50.0"  # type: ignore[arg-type, misc]
    assert dict(row[:2] for row in classes.rows)["class 0"] == "20.0"  # type: ignore[arg-type, misc]
    assert calibration.rows == (("no_lrn", "80.0", "15.0"),)  # 13 of 20 right at 0.8
    assert any(
        isinstance(block, Figure) and block.file == "confusion-1.svg" for block in section.blocks
    )
    (last,) = (block for block in section.blocks if isinstance(block, Paragraph))
    wrong = np.logical_and(*(~record.correct("centre", 1) for record in made)).sum()
    assert f"the same {wrong:,} images wrong" in last.text


def test_records_without_the_analysis_have_no_such_section(study: Study) -> None:
    study.run(study.spec("no_lrn", 0), 0.2)
    assert all(
        one.title != "Mistakes" for one in build("reproduce", Store(study.root).records()).sections
    )


def test_an_analysis_that_is_damaged_is_a_problem_of_its_record(study: Study, tmp_path: Path) -> None:
    made = study.run(study.spec("no_lrn", 0), 0.2)
    made.path.chmod(0o755)
    (made.path / "analysis.json").write_text('{"protocol": "centre"}')
    with pytest.raises(Exception, match=r"analysis\.json: not a valid Analysis: classes"):
        replace(made).analysis()
