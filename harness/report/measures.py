"""Measures of the paper's claims that are not errors on the validation images: one number per run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from harness.events import StepsDone
from harness.published.schema import ClaimTest
from harness.records.learning_curve import training_curve
from harness.records.record import RunRecord
from harness.report.columns import FROM_EPOCHS, colour_gap
from harness.report.image_sets import image_obstacle
from harness.report.setting import Setting
from harness.report.stats import Estimate, paired_by_seed
from harness.report.text import number_with_interval, points_with_interval
from harness.report.verdicts import Verdict

EARLY_STEPS = 500  # "the early stages of learning", section 5


@dataclass(frozen=True)
class Measure:
    """words: for the table. of: the value of one run; None where its record does not have it.

    text: of the difference of two variants.
    """

    words: str
    of: Callable[[RunRecord], float | None]
    text: Callable[[Estimate], str]


def _training_error(record: RunRecord) -> float | None:
    """On all training images after the last epoch, without augmentation, a fraction."""
    curve = training_curve(record)
    return curve[-1].error if curve else None


def _early_loss(record: RunRecord) -> float | None:
    """The mean training log loss of the first steps."""
    losses = [
        loss
        for event in record.events()
        if isinstance(event, StepsDone) and event.last_step <= EARLY_STEPS
        for loss in event.losses
    ]
    return sum(losses) / len(losses) if losses else None


def _colour_gap(record: RunRecord) -> float | None:
    return colour_gap(record) if record.spec.recipe.epochs >= FROM_EPOCHS else None


def _signed(estimate: Estimate) -> str:
    return f"{'+' if estimate.mean > 0 else ''}{number_with_interval(estimate, 3)}"


MEASURES: Mapping[str, Measure] = {
    "train_top1_error": Measure("training top-1", _training_error, points_with_interval),
    "early_train_loss": Measure(f"log loss of the first {EARLY_STEPS} steps", _early_loss, _signed),
    "colour_selectivity_gap_between_columns": Measure("gap of the colour index", _colour_gap, _signed),
}


def measured(
    test: ClaimTest, data: str, settings: Sequence[Setting], native_epochs: float | None
) -> tuple[str, Verdict] | None:
    """The difference of the two variants in the setting with the most seeds, in words, and the verdict;
    None if no setting has it.

    data: the images of the claim, such as "ILSVRC". native_epochs: length of the recipe that the variant
    was published with. The verdict is inconclusive on other images, in the mini geometry, after a
    shorter training, and with one seed.
    """
    measure = MEASURES[test.measure]
    found = [(setting, _difference(test, measure, setting)) for setting in settings]
    known = [(setting, held) for setting, held in found if held is not None]
    if not known:
        return None
    setting, difference = max(known, key=lambda pair: pair[1].n)
    text = f"{measure.words} {measure.text(difference)}"
    short = native_epochs is not None and setting.key.epochs < native_epochs
    if setting.key.geometry == "mini" or short or not _on_images(data, setting):
        return text, "inconclusive"
    return text, _verdict(test, difference)


def _difference(test: ClaimTest, measure: Measure, setting: Setting) -> Estimate | None:
    if test.versus is None:
        return None
    ours, theirs = (
        _values(measure, setting.runs.get(name, {})) for name in (test.variant, test.versus)
    )
    return paired_by_seed(ours, theirs)


def _values(measure: Measure, runs: Mapping[int, RunRecord]) -> dict[int, float]:
    found = {seed: measure.of(record) for seed, record in runs.items()}
    return {seed: held for seed, held in found.items() if held is not None}


def _on_images(data: str, setting: Setting) -> bool:
    """ILSVRC without a year is the images of either year."""
    years = ("ILSVRC-2012 val", "ILSVRC-2010 test") if data == "ILSVRC" else (data,)
    return any(image_obstacle(name, setting.key.data) is None for name in years)


def _verdict(test: ClaimTest, difference: Estimate) -> Verdict:
    """Of a claim that the difference is above `expected`, the only kind among these measures."""
    assert test.bound == "more_than"
    assert test.expected is not None
    if difference.interval is None:
        return "inconclusive"
    if difference.interval.within(test.expected, inf):
        return "reproduced"
    return "contradicted" if difference.interval.high < test.expected else "inconclusive"
