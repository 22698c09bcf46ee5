"""What every section is written from: the evidence, the catalogue, what is published, and the verdicts on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.published.schema import ArticleClaim, PaperClaim, Speed
from harness.report.claims import Claim, Judgement, judge_over
from harness.report.evidence import Evidence, Setting
from harness.report.model import Block, Paragraph
from variants.catalog import Variant


@dataclass(frozen=True)
class Material:
    """epochs: the length of each variant's own recipe. judgements: on the catalogue's published differences."""

    evidence: Evidence
    catalog: Mapping[str, Variant]
    epochs: Mapping[str, float]
    judgements: tuple[Judgement, ...]
    paper: Sequence[PaperClaim]
    article: Sequence[ArticleClaim]
    history: Sequence[Speed]

    def judge(self, claim: Claim) -> Judgement:
        return judge_over(claim, self.evidence.settings, self.epochs.get(claim.variant))


def in_setting(settings: Sequence[Setting], number: int, blocks: Sequence[Block]) -> tuple[Block, ...]:
    """`blocks`, headed by the setting they are about where there are several."""
    if len(settings) == 1 or not blocks:
        return tuple(blocks)
    return (Paragraph(text=f"Setting {number}: {settings[number - 1].key.label}.", lead=True), *blocks)
