"""The table of results in README.md: each variant's errors, its difference to the base, and the
verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.published.comparisons import compared_with
from harness.report.answers import agrees, different_here
from harness.report.data import ReportData
from harness.report.frames import estimate_of, rows_of
from harness.report.setting import METRICS, Metric, Setting
from harness.report.text import NONE, percent_with_interval, points_with_interval, published_points
from harness.tables import Column, Table

FEW_CLASSES = 20  # with so few, the top-5 error is small for any network and says little


def results_table(report: ReportData) -> Table | None:
    """The table for the setting with the most runs; None without finished runs."""
    if not report.evidence.settings:
        return None
    setting = report.evidence.settings[0]
    protocol, data = setting.main_protocol, setting.key.data
    metrics = tuple(METRICS) if data.classes > FEW_CLASSES else tuple(METRICS)[:1]
    return Table(
        caption="Results",
        columns=(
            Column(heading="Variant"),
            Column(heading="Seeds", align="right"),
            *(
                Column(heading=f"{METRICS[metric][0].capitalize()} error, %", align="right")
                for metric in metrics
            ),
            Column(heading=f"Difference to {setting.base}, points", align="right"),
            Column(heading="Different here?"),
            Column(heading="Published, points", align="right"),
            Column(heading="Agrees with the published one?"),
        ),
        rows=tuple(_rows(report, setting, protocol, metrics)),
        notes=(
            f"{data.name}, {data.val_images:,} validation images, {setting.key.geometry} geometry, "
            f"{setting.key.length}, {protocol} protocol. After ±: half of the 95 % interval over "
            "seeds. Differences are of top-1 error, paired by seed. Significantly: by Dunnett's test "
            "over seeds, corrected for the number of variants, and over images. At most: the end of "
            "the 95 % interval. Published differences are about ILSVRC at full size; on other images "
            "only their direction can agree.",
        ),
    )


def _rows(
    report: ReportData, setting: Setting, protocol: str, metrics: Sequence[Metric]
) -> list[tuple[str, ...]]:
    differences = report.differences(1)
    to_base = {row.variant: row for row in rows_of(differences[differences["versus"] == setting.base])}
    errors = {
        metric: {row.variant: percent_with_interval(estimate_of(row)) for row in rows_of(rows)}
        for metric in metrics
        for rows in (report.errors(1, protocol, metric),)
    }
    return [
        (
            name,
            str(len(seeds)),
            *(by_variant.get(name, NONE) for by_variant in errors.values()),
            *_difference(to_base.get(name), _unpublished(report, name, setting.base)),
        )
        for name, seeds in setting.runs.items()
    ]


def _unpublished(report: ReportData, variant: str, base: str) -> str:
    """The text in the verdict column if no difference to the base is published."""
    if variant == base:
        return "base"
    versus = compared_with(report.catalog[variant]) if variant in report.catalog else None
    return f"published against {versus}" if versus else "nothing published"


def _difference(row: Any, unpublished: str) -> tuple[str, str, str, str]:
    """The difference and whether there is one, the published one and whether it agrees."""
    if row is None:
        return NONE, NONE, NONE, unpublished
    here = (points_with_interval(estimate_of(row)), different_here(row))
    if pd.isna(row.published):
        return (*here, NONE, unpublished)
    return (*here, published_points(row.published, row.bound), agrees(row))
