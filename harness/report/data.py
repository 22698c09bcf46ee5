"""`ReportData`, the input of every section: runs and comparisons as frames, the catalogue and
published values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.published.schema import ArticleClaim, PaperClaim, Speed
from harness.records.bench import BenchRecord
from harness.report.checks import Check
from harness.report.claims import Claim, Judgement, judge_over
from harness.report.error_analysis import ErrorAnalysis
from harness.report.evidence import Evidence
from harness.report.model import Block, Paragraph
from harness.report.setting import Setting
from variants.catalog import Variant


@dataclass(frozen=True)
class ReportData:
    """Sections select and format this data; they compute no statistics.

    runs, speeds, comparisons: see frames.py. reference_comparisons: the same for the records that came
    with the clone.
    descriptions: one sentence per data set, by name. epochs: the length of each variant's own recipe.
    judgements: on the catalogue's published differences, over all settings. checks: of the finished
    runs.
    error_analyses: one per setting; None where the records are older. benches: records of speeds.
    """

    evidence: Evidence
    runs: pd.DataFrame
    speeds: pd.DataFrame
    comparisons: pd.DataFrame
    reference_comparisons: pd.DataFrame
    catalog: Mapping[str, Variant]
    descriptions: Mapping[str, str]
    epochs: Mapping[str, float]
    judgements: tuple[Judgement, ...]
    checks: tuple[Check, ...]
    error_analyses: tuple[ErrorAnalysis | None, ...]
    paper: Sequence[PaperClaim]
    article: Sequence[ArticleClaim]
    history: Sequence[Speed]
    benches: Sequence[BenchRecord] = ()

    def judge(self, claim: Claim) -> Judgement:
        return judge_over(claim, self.evidence.settings, self.epochs.get(claim.variant))

    def errors(self, setting: int, protocol: str, metric: str = "top1_error") -> pd.DataFrame:
        """The rows of comparisons with the variants' own errors, in the catalogue's order."""
        return errors_in(self.comparisons, setting, protocol, metric)

    def differences(self, setting: int, metric: str = "top1_error") -> pd.DataFrame:
        """The rows of comparisons with differences, each under the protocol of its verdict."""
        frame = self.comparisons
        chosen = (frame["setting"] == setting) & frame["versus"].notna() & (frame["metric"] == metric)
        return frame[chosen & frame["main_protocol"].eq(True)]


def errors_in(comparisons: pd.DataFrame, setting: int, protocol: str, metric: str) -> pd.DataFrame:
    """The variants' own errors of one setting (counted from 1), protocol and metric."""
    chosen = (comparisons["setting"] == setting) & comparisons["versus"].isna()
    return comparisons[
        chosen & (comparisons["protocol"] == protocol) & (comparisons["metric"] == metric)
    ]


def in_setting(settings: Sequence[Setting], number: int, blocks: Sequence[Block]) -> tuple[Block, ...]:
    """`blocks`, after a line that names their setting if there are several."""
    if len(settings) == 1 or not blocks:
        return tuple(blocks)
    return (Paragraph(text=f"Setting {number}: {settings[number - 1].key.label}.", lead=True), *blocks)
