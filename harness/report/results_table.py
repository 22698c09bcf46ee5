"""The table of results in README.md: each variant's errors, its difference to the base, and the verdict."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.published.comparisons import compared_with
from harness.report.data import ReportData
from harness.report.evidence import Setting
from harness.report.frames import estimate_of, rows_of
from harness.report.text import NONE, percent_with_interval, points_with_interval, published_points
from harness.tables import Column, Table


def results_table(report: ReportData) -> Table | None:
    """The table for the setting with the most runs; None without finished runs."""
    if not report.evidence.settings:
        return None
    setting = report.evidence.settings[0]
    protocol, data = setting.main_protocol, setting.key.data
    return Table(
        caption="Results",
        columns=(
            Column(heading="Variant"),
            Column(heading="Seeds", align="right"),
            Column(heading="Top-1 error, %", align="right"),
            Column(heading="Top-5 error, %", align="right"),
            Column(heading=f"Difference to {setting.base}, points", align="right"),
            Column(heading="Published, points", align="right"),
            Column(heading="Verdict"),
        ),
        rows=tuple(_rows(report, setting, protocol)),
        notes=(
            f"{data.name}, {data.val_images:,} validation images, {setting.key.geometry} geometry, "
            f"{setting.key.length}, {protocol} protocol. After ±: half of the 95 % interval over seeds. "
            "Differences are of top-1 error, paired by seed. Published ones are about ILSVRC at full size; runs on "
            "other images can't decide them.",
        ),
    )


def _rows(report: ReportData, setting: Setting, protocol: str) -> list[tuple[str, ...]]:
    differences = report.differences(1)
    to_base = {row.variant: row for row in rows_of(differences[differences["versus"] == setting.base])}
    errors = {
        metric: {row.variant: percent_with_interval(estimate_of(row)) for row in rows_of(rows)}
        for metric in ("top1_error", "top5_error")
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


def _difference(row: Any, unpublished: str) -> tuple[str, str, str]:
    """The difference, the published one and the verdict."""
    difference = NONE if row is None else points_with_interval(estimate_of(row))
    if row is None or pd.isna(row.published):
        return difference, NONE, unpublished
    return difference, published_points(row.published, row.bound), row.verdict
