"""The section on an article's statements about AlexNet: verdict, evidence, and the variant that
tests each.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from harness.report.data import ReportData
from harness.report.model import Paragraph, Section
from harness.report.text import NONE, listed
from harness.tables import Column, Table

VERDICTS: tuple[Literal["true", "partly", "false", "unclear"], ...] = (
    "true",
    "partly",
    "false",
    "unclear",
)


def section(report: ReportData) -> Section:
    """One row per statement, in the article's order."""
    counts = Counter(claim.verdict for claim in report.article)
    ran = {name for setting in report.evidence.settings for name in setting.runs}
    numbers = listed([f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]])
    intro = (
        f"A widely read article makes {len(report.article)} statements about this network that can be "
        f"checked: {numbers}. The verdicts rest on the sources named, not on runs. A variant in the "
        "last column builds what the statement says. An asterisk marks a variant that was run for this "
        "report."
    )
    table = Table(
        caption="The article's statements.",
        columns=(
            Column(heading="No.", align="right"),
            Column(heading="It says", share=4),
            Column(heading="Verdict"),
            Column(heading="Evidence", share=5),
            Column(heading="Variant", share=3),
        ),
        rows=tuple(
            (
                str(claim.number),
                claim.says,
                claim.verdict,
                claim.evidence,
                _variants(claim.tested_by, ran),
            )
            for claim in report.article
        ),
    )
    return Section(
        title="An article's statements", blocks=(Paragraph(text=intro), table) if report.article else ()
    )


def _variants(names: tuple[str, ...], ran: set[str]) -> str:
    return ", ".join(f"{name}*" if name in ran else name for name in names) or NONE
