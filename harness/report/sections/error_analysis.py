"""The section on mistakes: error of each class, confusion, calibration, images that all seeds get
wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.report import figures
from harness.report.data import ReportData, in_setting
from harness.report.error_analysis import ErrorAnalysis
from harness.report.model import Block, Figure, Paragraph, Section
from harness.report.text import count, number, percent
from harness.tables import Column, Table

MOST_ROWS = 20  # classes in a table; of more, those with the highest error of the base


def section(report: ReportData) -> Section:
    """Empty where the records are older than the analysis."""
    blocks: list[Block] = []
    for place, found in enumerate(report.error_analyses, 1):
        if found is not None:
            made: list[Block] = [*_classes(found), *_confusion(found, place)]
            made += [_calibration(found), _always_wrong(found)]
            blocks += in_setting(report.evidence.settings, place, made)
    return Section(title="Mistakes", blocks=tuple(blocks))


def _classes(found: ErrorAnalysis) -> Iterator[Table]:
    if not found.class_errors:
        return
    base = found.class_errors[found.base]
    order = sorted(range(len(found.classes)), key=lambda label: (-base[label], label))[:MOST_ROWS]
    some = (
        ""
        if len(order) == len(found.classes)
        else f" The {len(order)} of {len(found.classes)} classes with most."
    )
    yield Table(
        caption=f"Top-1 error of each class in % ({found.protocol}), mean over seeds, highest of "
        f"{found.base} first.{some}",
        columns=(
            Column(heading="Class"),
            *(Column(heading=name, align="right") for name in found.class_errors),
        ),
        rows=tuple(
            (
                found.classes[label],
                *(percent(errors[label], 1) for errors in found.class_errors.values()),
            )
            for label in order
        ),
    )


def _confusion(found: ErrorAnalysis, place: int) -> Iterator[Figure]:
    if found.confusion is None or len(found.classes) > MOST_ROWS:
        return
    frame = pd.DataFrame(100 * found.confusion, index=list(found.classes), columns=list(found.classes))
    yield Figure(
        file=f"confusion-{place}.svg",
        caption=f"Wrong answers of {found.base} in percent of the images of each class (rows), mean "
        f"over {count(found.seeds, 'seed')}. The diagonal, the right answers, is left out.",
        alt=f"Confusion matrix of {found.base}.",
        content=figures.confusion(frame),
    )


def _calibration(found: ErrorAnalysis) -> Table:
    return Table(
        caption="Calibration: mean probability of the answer, and the expected calibration error in 15 "
        "bins (0: the probabilities are right), in %.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Mean probability, %", align="right"),
            Column(heading="Expected calibration error, %", align="right"),
        ),
        rows=tuple(
            (name, percent(found.confidence[name], 1), percent(error, 1))
            for name, error in found.calibration_error.items()
        ),
    )


def _always_wrong(found: ErrorAnalysis) -> Paragraph:
    if found.seeds < 2:
        return Paragraph(text="With one seed it is not known which images are hard for every network.")
    return Paragraph(
        text=f"All {found.seeds} seeds of {found.base} get the same {number(found.always_wrong)} "
        "images wrong; if their mistakes were independent, it would be "
        f"{number(found.always_wrong_by_chance)}."
    )
