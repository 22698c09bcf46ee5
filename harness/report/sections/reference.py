"""The section on reference records, which came with the clone. They are never pooled with the user's records."""

from __future__ import annotations

from harness.report.data import ReportData
from harness.report.model import Block, Paragraph, Section
from harness.report.sections.errors import error_table
from harness.report.sections.setup import machine
from harness.report.text import count, listed
from harness.tables import Table


def section(report: ReportData) -> Section:
    """Error tables of the reference records, one per setting."""
    settings, blocks = report.evidence.reference, list[Block]()
    if settings:
        text = (
            f"{count(len(report.evidence.came_with_clone), 'sealed record')} came with this copy of the project. They "
            "ran on another machine and are shown for orientation. No number elsewhere in this report includes them."
        )
        blocks.append(Paragraph(text=text))
    for place, setting in enumerate(settings, 1):
        where = listed(sorted({machine(record) for record in setting.records()}))
        blocks.append(Paragraph(text=f"{setting.key.label}; on {where}."))
        blocks.append(_labelled(error_table(report.reference_comparisons, place, setting, setting.protocols[0])))
    return Section(title="Reference records", blocks=tuple(blocks) or (Paragraph(text="None came with this copy."),))


def _labelled(table: Table) -> Table:
    return Table(caption=f"Reference records, not yours. {table.caption}", columns=table.columns, rows=table.rows)
