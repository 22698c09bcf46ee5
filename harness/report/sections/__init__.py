"""The sections of the report, in order.

To add one, write `section(report)` in a file here and add it to the list.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.report.data import ReportData
from harness.report.model import Section
from harness.report.sections import (
    article,
    bench,
    checks,
    columns,
    differences,
    error_analysis,
    errors,
    learning_speed,
    methods,
    paper,
    plan,
    provenance,
    reference,
    setup,
    speed,
    training,
)

SECTIONS: tuple[Callable[[ReportData], Section], ...] = (
    learning_speed.section,
    plan.section,
    setup.section,
    errors.section,
    differences.section,
    error_analysis.section,
    training.section,
    columns.section,
    checks.section,
    speed.section,
    bench.section,
    reference.section,
    paper.section,
    methods.section,
    provenance.section,
    article.section,
)
