"""The section on differences to the base: measured (paired by seed), published, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.report.answers import agrees, different_here
from harness.report.data import ReportData, in_setting
from harness.report.evidence import PAPER_NET
from harness.report.frames import estimate_of, images_of, rows_of
from harness.report.model import Block, Bullets, Paragraph, Section
from harness.report.setting import METRICS, Metric, Setting
from harness.report.stats import MOST_SEEDS
from harness.report.text import NONE, number, points_between, points_with_interval, published_points
from harness.tables import Column, Table

NOTE = (
    "Over seeds: the mean of the differences between runs of the same seed, ± half of its 95 % "
    "interval. Over images: the 95 % interval for these networks on other images of the same source. "
    "Seeds needed: per variant, to find the published difference significantly different from 0 / to "
    "reach a verdict, in 80 % of studies with the standard deviation of these runs. A dash: nothing is "
    "published, or one seed."
)


def section(report: ReportData) -> Section:
    """Two tables per setting, for top-1 and top-5, and below them why these runs can't decide a
    claim. Empty for runs that end at a training error, whose errors are not compared.
    """
    settings, blocks = report.evidence.settings, list[Block]()
    if not settings and report.evidence.learning_speeds:
        return Section(title="Differences", blocks=())
    for place, setting in enumerate(settings, 1):
        tables = [_table(report.differences(place, metric), setting, metric) for metric in METRICS]
        blocks += in_setting(settings, place, [table for table in tables if table.rows])
        blocks += [Paragraph(text=NOTE)] if tables[0].rows else []
        blocks += _obstacles(report, place)
    bases = list(dict.fromkeys(setting.base for setting in settings))
    title = f"Differences to {' or '.join(bases) or PAPER_NET}, and what is published"
    return Section(
        title=title,
        blocks=tuple(blocks) or (Paragraph(text="No two variants have a common seed yet."),),
    )


def _table(differences: pd.DataFrame, setting: Setting, metric: Metric) -> Table:
    label = METRICS[metric][0]
    return Table(
        caption=f"Differences of {label} error in percentage points, to {setting.base} unless another "
        "base is named. Plus is a higher error.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Pairs", align="right"),
            Column(heading="Over seeds", align="right"),
            Column(heading="Over images", align="right"),
            Column(heading="Published", align="right"),
            Column(heading="Different here?"),
            Column(heading="Agrees?"),
            Column(heading="Seeds needed", align="right"),
        ),
        rows=tuple(_row(row, setting.base) for row in rows_of(differences)),
    )


def _row(row: Any, base: str) -> tuple[str, ...]:
    name = row.variant if row.versus == base else f"{row.variant}, against {row.versus}"
    measured = (
        name,
        str(row.n),
        points_with_interval(estimate_of(row)),
        points_between(images_of(row)),
    )
    if pd.isna(row.published):
        return (*measured, NONE, different_here(row), NONE, NONE)
    published = published_points(row.published, row.bound)
    size = ", the size differs" if row.size_differs else ""
    return (*measured, published, different_here(row), f"{agrees(row)}{size}", _seeds_needed(row))


def _seeds_needed(row: Any) -> str:
    if row.n < 2:
        return NONE
    needed = (row.seeds_to_detect, row.seeds_to_confirm)
    return " / ".join(f">{number(MOST_SEEDS)}" if pd.isna(n) else number(n) for n in needed)


def _obstacles(report: ReportData, place: int) -> Sequence[Block]:
    """Each obstacle once, with the variants that it applies to."""
    rows = pd.concat([report.differences(place, metric) for metric in METRICS])
    rows = rows[["variant", "obstacles"]].explode("obstacles").dropna().drop_duplicates()
    if rows.empty:
        return ()
    order = {name: i for i, name in enumerate(report.evidence.settings[place - 1].runs)}
    rows = rows.sort_values("variant", key=lambda names: names.map(order), kind="stable")
    items = tuple(
        f"{obstacle} ({', '.join(variants)})"
        for obstacle, variants in rows.groupby("obstacles", sort=False)["variant"]
    )
    return (
        Paragraph(text="Why these runs can't decide what is published:", lead=True),
        Bullets(items=items),
    )
