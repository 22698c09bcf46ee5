"""The section on what was decided before the first run of a long study."""

from __future__ import annotations

from harness.report.data import ReportData
from harness.report.model import Block, Bullets, Paragraph, Section
from harness.studies.rows import STUDIES, studies_in


def section(report: ReportData) -> Section:
    """Empty for studies without a plan."""
    blocks = list[Block]()
    named = [name for name in studies_in(report.evidence.study) if name in STUDIES]
    for name in named:
        if STUDIES[name].plan:
            blocks += [
                Paragraph(text=f"Study {name}: {STUDIES[name].meaning}.", lead=True),
                Bullets(items=STUDIES[name].plan),
            ]
    return Section(title="Decided before the first run", blocks=tuple(blocks))
