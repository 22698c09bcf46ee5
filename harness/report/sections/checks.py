"""The section on checks: which runs pass each of them, and which don't, with the reason."""

from __future__ import annotations

from harness.report.checks import NOT_RECORDED, Check
from harness.report.data import ReportData
from harness.report.model import Section
from harness.report.text import NONE
from harness.tables import Column, Table


def section(report: ReportData) -> Section:
    """One row per check; empty without finished runs."""
    if not report.checks:
        return Section(title="Checks of the runs", blocks=())
    table = Table(
        caption="Each finished run is checked before its numbers are used. Runs that fail are named, "
        "and stay in the tables.",
        columns=(
            Column(heading="Check", share=2),
            Column(heading="Runs that pass"),
            Column(heading="Failed", share=2),
        ),
        rows=tuple(_row(check) for check in report.checks),
    )
    return Section(title="Checks of the runs", blocks=(table,))


def _row(check: Check) -> tuple[str, str, str]:
    failed = "; ".join(f"{run_id}: {reason}" for run_id, reason in check.failed)
    if not check.runs:
        return check.says, NOT_RECORDED, NONE
    return check.says, f"{check.runs - len(check.failed)} of {check.runs}", failed or "none"
