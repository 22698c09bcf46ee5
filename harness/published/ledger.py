"""Two ledgers of claims: the 2012 paper's quantitative ones, and those of a later article about the network."""

from __future__ import annotations

from harness.published.load import read
from harness.published.schema import ArticleClaim, PaperClaim


def article() -> list[ArticleClaim]:
    """The article's 67 statements in its order, each with a verdict, the evidence and the rows that try it out."""
    return list(read("article", tuple[ArticleClaim, ...]))


def paper_claims() -> list[PaperClaim]:
    """The paper's quantitative claims in its order, each with the comparisons that bear on it and what decides it."""
    return list(read("paper_claims", tuple[PaperClaim, ...]))
