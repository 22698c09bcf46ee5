"""Measures of claims that are not errors: training error, early loss, colour of columns."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from study_records import DATA, Study

from harness.events import StepsDone
from harness.published.schema import ClaimTest
from harness.records.store import RunRecord
from harness.report.build import build
from harness.report.evidence import gather
from harness.report.measures import measured
from harness.report.model import Section
from harness.report.setting import Setting
from harness.tables import Table
from variants.catalog import CATALOG

WINDOW = {
    "epoch": 0.1, "top1_error": 0.5, "lr": 0.01, "images": 640, "elapsed_s": 1.0, "wait_s": 0.0,
}  # fmt: skip
EARLY = ClaimTest(
    variant="single_gpu",
    versus="grouped_2gpu",
    measure="early_train_loss",
    unit="log_loss",
    protocol="training",
    bound="more_than",
    expected=0.0,
)


def settings_of(records: list[RunRecord]) -> tuple[Setting, ...]:
    return gather("test", records, (), list(CATALOG)).settings


def made(study: Study, epochs: float = 1.0) -> list[RunRecord]:
    """Two nets of two seeds; their losses are the same."""
    specs = [study.spec(name, seed) for name in ("grouped_2gpu", "single_gpu") for seed in (0, 1)]
    return [study.run(replace(one, recipe=replace(one.recipe, epochs=epochs)), 0.2) for one in specs]


def test_a_measure_is_the_difference_of_the_two_nets_over_seeds(study: Study):
    text, verdict = measured(EARLY, "ILSVRC", settings_of(made(study)), 90.0) or ("", "not run")
    assert text == "log loss of the first 500 steps 0.000 ± 0.000"
    assert verdict == "inconclusive"  # other images, mini geometry


def test_a_measure_that_the_records_do_not_have_was_not_run(study: Study):
    records = settings_of(made(study))
    assert measured(replace(EARLY, measure="train_top1_error"), "ILSVRC", records, 90.0) is None
    gap = replace(EARLY, measure="colour_selectivity_gap_between_columns")
    assert measured(gap, "ILSVRC", records, 90.0) is None  # one epoch is too short
    assert measured(replace(EARLY, variant="tanh"), "ILSVRC", records, 90.0) is None


def test_the_colour_of_columns_is_a_section_of_nets_that_were_trained_for_long(study: Study):
    sections = {one.title: one for one in build("test", made(study, 20.0)).sections}
    (table,) = (
        block for block in sections["Colour in the two columns"].blocks if isinstance(block, Table)
    )
    assert [row[0] for row in table.rows] == ["grouped_2gpu", "single_gpu (no columns)"]
    assert table.rows[0][-1].endswith("of 2 seeds")
    assert "Colour in the two columns" not in titles(build("test", made(study, 1.0)).sections)


def measured_run(loss: float) -> Any:
    """A record with a window of 10 early steps and one that is too late to count."""
    early = SimpleNamespace(last_step=10, losses=(loss,) * 10)
    late = SimpleNamespace(last_step=2000, losses=(9.0,) * 10)
    windows = [StepsDone(**{**WINDOW, **vars(each)}) for each in (early, late)]
    return SimpleNamespace(events=lambda: windows)


def full_size(ours: list[float], theirs: list[float], images: int = 1_281_167) -> Any:
    """A setting at full size, with the early losses of both nets by seed."""
    data = replace(DATA, classes=1000, train_images=images, val_images=50_000)
    runs = {
        name: {seed: measured_run(loss) for seed, loss in enumerate(losses)}
        for name, losses in (("single_gpu", ours), ("grouped_2gpu", theirs))
    }
    return SimpleNamespace(key=SimpleNamespace(data=data, geometry="full", epochs=90.0), runs=runs)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ([2.0, 2.1, 2.2], [1.5, 1.61, 1.7], "reproduced"),
        ([1.5, 1.61, 1.7], [2.0, 2.1, 2.2], "contradicted"),
        ([2.0, 1.4], [1.5, 1.9], "inconclusive"),
        ([2.0], [1.5], "inconclusive"),
    ],
)
def test_at_full_size_on_its_images_the_interval_decides(
    ours: list[float], theirs: list[float], verdict: str
) -> None:
    assert (measured(EARLY, "ILSVRC", [full_size(ours, theirs)], 90.0) or ("", ""))[1] == verdict
    # on other images, or after a shorter training, nothing is decided
    for setting, epochs in ((full_size(ours, theirs, 50_000), 90.0), (full_size(ours, theirs), 91.0)):
        assert (measured(EARLY, "ILSVRC", [setting], epochs) or ("", ""))[1] == "inconclusive"


def test_the_difference_is_ours_minus_theirs_over_early_steps_only() -> None:
    text, _ = measured(EARLY, "ILSVRC", [full_size([2.0, 2.1], [1.5, 1.6])], 90.0) or ("", "")
    assert text == "log loss of the first 500 steps +0.500 ± 0.000"


def titles(sections: tuple[Section, ...]) -> list[str]:
    return [one.title for one in sections]


def test_a_claim_on_such_a_measure_is_in_the_papers_table(study: Study):
    specs = [study.spec(name, seed) for name in ("grouped_2gpu", "zero_biases") for seed in (0, 1)]
    model = build("test", [study.run(one, 0.2) for one in specs])
    (rows,) = (
        block.rows
        for one in model.sections
        for block in one.blocks
        if isinstance(block, Table) and block.caption.startswith("The paper's claims")
    )
    (row,) = (row for row in rows if row[1].startswith("Biases of one"))
    assert row[2:4] == ("log loss of the first 500 steps 0.000 ± 0.000", "inconclusive")
