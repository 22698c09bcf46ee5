"""The section on reference records, which came with the clone.

They are never pooled with the user's records.
"""

from __future__ import annotations

from dataclasses import replace

from harness.report.data import ReportData
from harness.report.model import Block, Paragraph, Section
from harness.report.sections.errors import error_table
from harness.report.text import count, machines
from harness.tables import Table


def section(report: ReportData) -> Section:
    """Error tables of the reference records, one per setting."""
    settings, blocks = report.evidence.reference_settings, list[Block]()
    if settings:
        text = (
            f"{count(len(report.evidence.reference_records), 'sealed record')} came with this copy of "
            "the project. They ran on another machine and are shown for orientation. No number "
            "elsewhere in this report includes them."
        )
        blocks.append(Paragraph(text=text))
    for place, setting in enumerate(settings, 1):
        blocks.append(Paragraph(text=f"{setting.key.label}; on {machines(setting.records())}."))
        blocks.append(
            _labelled(error_table(report.reference_comparisons, place, setting, setting.main_protocol))
        )
    return Section(
        title="Reference records",
        blocks=tuple(blocks) or (Paragraph(text="None came with this copy."),),
    )


def _labelled(table: Table) -> Table:
    return replace(table, caption=f"Reference records, not yours. {table.caption}")
