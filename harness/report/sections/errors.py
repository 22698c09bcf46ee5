"""The section on errors: a table per protocol with mean, interval and number of seeds, and a plot
per setting.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.report import figures
from harness.report.data import ReportData, errors_in, in_setting
from harness.report.frames import estimate_of, images_of, rows_of
from harness.report.model import Block, Figure, Paragraph, Section
from harness.report.setting import Setting
from harness.report.stats import Interval
from harness.report.text import NONE, percent, percent_with_interval
from harness.tables import Column, Table

PROTOCOLS = {
    "centre": "the centre crop",
    "mirror": "the mirror image of the centre crop",
    "ten_view": "five crops and their mirror images, probabilities averaged",
    "nine_view": "nine crops, probabilities averaged",
}

NOTE = (
    "After ±: half of the 95 % interval of the mean over seeds (Student's t); with one seed there is "
    "none. Last column: the 95 % interval (Wilson's) of the error of the first seed's network alone on "
    "as many other images of the same source; it says nothing about other seeds."
)
LOCALISATION = (
    "Localisation error: the fraction of images with a wrong top-1 answer or a box with IoU < 0.5."
)


def section(report: ReportData) -> Section:
    """A table for each protocol; the plot shows the centre crop."""
    settings, blocks = report.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        tables = [
            error_table(report.comparisons, place, setting, protocol) for protocol in setting.protocols
        ]
        blocks += in_setting(settings, place, [_plot(report, setting, place), *tables])
        blocks.append(Paragraph(text=NOTE))
    return Section(title="Errors", blocks=tuple(blocks))


def error_table(comparisons: pd.DataFrame, place: int, setting: Setting, protocol: str) -> Table:
    """One row per variant, in the catalogue's order; a column for boxes if a network predicts them."""
    top1, top5, located = (
        {row.variant: row for row in rows_of(errors_in(comparisons, place, protocol, metric))}
        for metric in ("top1_error", "top5_error", "localisation_error")
    )
    return Table(
        caption=f"Error on {setting.key.data.name}, {PROTOCOLS.get(protocol, protocol)} ({protocol}).",
        columns=(
            Column(heading="Variant"),
            Column(heading="Seeds", align="right"),
            Column(heading="Top-1 error, %", align="right"),
            Column(heading="Top-5 error, %", align="right"),
            Column(heading="Lowest to highest top-1, %", align="right"),
            Column(heading="First seed, other images: top-1, %", align="right"),
            *([Column(heading="Localisation error, %", align="right")] if located else []),
        ),
        rows=tuple(
            (
                name,
                str(row.n),
                _mean(row),
                _mean(top5.get(name)),
                _between(Interval(low=row.lowest, high=row.highest)),
                _between(images_of(row)),
                *([_mean(located.get(name))] if located else []),
            )
            for name, row in top1.items()
        ),
        notes=(LOCALISATION,) if located else (),
    )


def _mean(row: Any) -> str:
    return NONE if row is None else percent_with_interval(estimate_of(row))


def _between(interval: Interval | None) -> str:
    return NONE if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def _plot(report: ReportData, setting: Setting, place: int) -> Figure:
    protocol = setting.main_protocol
    means = {row.variant: estimate_of(row) for row in rows_of(report.errors(place, protocol))}
    runs = report.runs[(report.runs["setting"] == place) & (report.runs["protocol"] == protocol)]
    return Figure(
        file=f"errors-{place}.svg",
        caption=f"Top-1 error ({protocol}). Grey: each seed. Blue: the mean with its 95 % interval; a "
        "diamond marks a single seed, which has none.",
        alt="Top-1 error of each variant: "
        + ", ".join(f"{name} {percent(m.mean)} %" for name, m in means.items()),
        content=figures.errors(runs.assign(error_percent=100 * runs["top1_error"]), means, "top-1"),
    )
