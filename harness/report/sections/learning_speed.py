"""The section on epochs to a training error (the paper's figure 1): curves, runs, the search of
learning rates.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.data import ReportData
from harness.report.learning_speed import AtOneRate, LearningSpeed, Ratio, TimedRun
from harness.report.model import Block, Paragraph, Section
from harness.report.overview import leading_speed, training_curves
from harness.report.text import (
    NONE,
    beyond_grid,
    count,
    epochs_to,
    factor,
    machines,
    percent,
    seeds_so_far,
)
from harness.tables import Column, Table

ROLES = {True: "best of the search", False: "neighbour in the grid"}


def section(report: ReportData) -> Section:
    """Empty without runs that end at a training error."""
    blocks, shown_before = list[Block](), leading_speed(report)
    for speed in report.evidence.learning_speeds:
        curves = None if speed is shown_before else training_curves(speed)
        blocks += [
            _lead(speed),
            *(() if curves is None else (curves,)),
            *_runs(speed),
            *_result(speed),
            *_searches(speed),
        ]
    return Section(title="Epochs to a training error (figure 1 of the paper)", blocks=tuple(blocks))


def _lead(speed: LearningSpeed) -> Paragraph:
    return Paragraph(
        text=f"Images: {speed.data.contents or speed.data.name}, {speed.data.train_images:,} to train "
        "on. The runs end once the top-1 error on all training images is below "
        f"{percent(speed.threshold, 0)} %. Machines: {machines(speed.records)}."
    )


def _runs(speed: LearningSpeed) -> Iterator[Table]:
    rows = [_row(speed, at) for name in speed.variants for at in speed.rates(name)]
    if rows:
        yield Table(
            caption=f"Epochs to {percent(speed.threshold, 0)} % training error, by network and "
            "learning rate.",
            columns=(
                Column(heading="Network"),
                Column(heading="Learning rate", align="right"),
                Column(heading="Which rate"),
                Column(heading="Seeds", align="right"),
                Column(heading="Epochs, mean", align="right"),
                Column(heading="Epochs of each seed", share=1),
            ),
            rows=tuple(rows),
            notes=(
                "After ±: half of the 95 % interval over seeds. A run with > did not reach it "
                "(censored).",
            ),
        )


def _row(speed: LearningSpeed, at: AtOneRate) -> tuple[str, ...]:
    return (
        at.variant,
        f"{at.rate:g}",
        ROLES[at == speed.best(at.variant)],
        str(len(at.runs)),
        epochs_to(at.mean, at.censored),
        ", ".join(map(_epochs, at.runs)),
    )


def _epochs(run: TimedRun) -> str:
    return f"{run.epochs:.1f}" if run.reached.epochs is not None else f"> {run.epochs:g}"


def _result(speed: LearningSpeed) -> Iterator[Block]:
    ratio = speed.ratio()
    if ratio is None:
        yield Paragraph(
            text="There is no ratio yet: one of the networks has no counted run at its best rate."
        )
        return
    yield Table(
        caption="tanh over ReLU, each at its best learning rate, beside the paper's claims (section "
        "3.1).",
        columns=(
            Column(heading="Measured ratio", align="right"),
            Column(heading="95 %, bootstrap", align="right"),
            Column(heading="95 %, Welch's t", align="right"),
            Column(heading="Claim", share=1),
            Column(heading="Verdict"),
        ),
        rows=(
            (*_numbers(ratio), 'ReLU is "several times faster": above 2', speed.several()),
            (*_numbers(ratio), "ReLU is six times faster in figure 1: between 4 and 9", speed.six()),
        ),
        notes=(
            f"A verdict needs both intervals and all seeds: {seeds_so_far(ratio)}.",
            *_lower_bound(ratio),
        ),
    )


def _numbers(ratio: Ratio) -> tuple[str, ...]:
    intervals = (ratio.bootstrap, ratio.by_t)
    return (
        f"> {factor(ratio.value)}" if ratio.slow.censored else factor(ratio.value),
        *(NONE if held is None else f"{factor(held.low)} to {factor(held.high)}" for held in intervals),
    )


def _lower_bound(ratio: Ratio) -> tuple[str, ...]:
    if not ratio.slow.censored:
        return ()
    return (
        f"{count(ratio.slow.censored, 'run')} with tanh did not reach it, so the ratio is a lower "
        "bound.",
    )


def _searches(speed: LearningSpeed) -> Iterator[Table]:
    rows = [
        (name, f"{run.rate:g}", _epochs(run), percent(run.reached.last_error, 1))
        for name in speed.variants
        for run in speed.search(name)
    ]
    if rows:
        yield Table(
            caption="The search of learning rates, one run each, with a seed that no counted run has.",
            columns=(
                Column(heading="Network"),
                Column(heading="Learning rate", align="right"),
                Column(heading=f"Epochs to {percent(speed.threshold, 0)} %", align="right"),
                Column(heading="Training error at the end, %", align="right"),
            ),
            rows=tuple(rows),
            notes=tuple(beyond_grid(speed)),
        )
