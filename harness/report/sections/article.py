"""The ledger of a later article about the network: what it says, what the sources say, which variant tries it out."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from harness.report.material import Material
from harness.report.model import Paragraph, Section
from harness.report.text import NONE, listed
from harness.tables import Column, Table

VERDICTS: tuple[Literal["true", "partly", "false", "unclear"], ...] = ("true", "partly", "false", "unclear")


def section(given: Material) -> Section:
    """One row a statement, in the article's order."""
    counts = Counter(claim.verdict for claim in given.article)
    ran = {name for setting in given.evidence.settings for name in setting.arms}
    told = listed([f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]])
    intro = (
        f"A widely read article describes this network in {len(given.article)} statements that can be checked: {told}. "
        "The verdicts rest on the sources named, not on runs. A variant in the last column builds what the statement "
        "says, so that anyone can see what would follow from it; an asterisk marks one that was run for this report."
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
            (str(claim.number), claim.says, claim.verdict, claim.evidence, _variants(claim.variants, ran))
            for claim in given.article
        ),
    )
    return Section(title="The article's ledger", blocks=(Paragraph(text=intro), table) if given.article else ())


def _variants(names: tuple[str, ...], ran: set[str]) -> str:
    return ", ".join(f"{name}*" if name in ran else name for name in names) or NONE
