"""Two questions about a difference, answered in words: is there one here, and does it agree with the
published one?

Both take a row of frames.comparisons_frame() that is a difference of two variants.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.report.frames import estimate_of, images_of
from harness.report.stats import CONFIDENCE
from harness.report.text import percent


def significant(row: Any) -> bool:
    """Whether the difference is one by chance in seeds and in images, at 5 %.

    Over seeds by Dunnett's test, which is corrected for the number of variants, where it was done, else
    by the interval over seeds.
    """
    estimate, images = estimate_of(row), images_of(row)
    if estimate.interval is None or row.at_chance:
        return False
    over_seeds = (
        estimate.interval.excludes_zero if pd.isna(row.dunnett_p) else row.dunnett_p < 1 - CONFIDENCE
    )
    return bool(over_seeds) and images is not None and images.excludes_zero


def different_here(row: Any) -> str:
    """`significantly higher (p = 0.012)`, or `not significant, at most 1.4 points` by the interval
    over seeds.
    """
    estimate = estimate_of(row)
    if row.at_chance:
        return "no better than chance"
    if estimate.interval is None:
        return "unknown with one seed"
    if significant(row):
        tested = "" if pd.isna(row.dunnett_p) else f" ({_p(row.dunnett_p)})"
        return f"significantly {'higher' if estimate.mean > 0 else 'lower'}{tested}"
    return (
        "not significant, at most "
        f"{percent(max(abs(estimate.interval.low), abs(estimate.interval.high)), 1)} points"
    )


def agrees(row: Any) -> str:
    """The verdict; if these runs can't decide the claim but differ significantly, whether the
    direction agrees.
    """
    if row.verdict != "inconclusive" or not significant(row):
        return str(row.verdict)
    return "direction agrees" if (row.mean > 0) == (row.published > 0) else "opposite direction"


def _p(probability: float) -> str:
    return "p < 0.001" if probability < 0.001 else f"p = {probability:.3f}"
