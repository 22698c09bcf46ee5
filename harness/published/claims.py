"""Two lists of claims: the 2012 paper's quantitative ones, and those of a later article about the
network.
"""

from __future__ import annotations

from dataclasses import replace

from harness.published.load import read
from harness.published.schema import ArticleClaim, ClaimTest, PaperClaim, Target
from harness.published.targets import target


def article() -> list[ArticleClaim]:
    """The article's 67 statements in its order, each with a verdict, evidence and the variants that
    test it.
    """
    return list(read("article", tuple[ArticleClaim, ...]))


def paper_claims() -> list[PaperClaim]:
    """The paper's quantitative claims in its order, each with the comparisons that can decide it.

    Their numbers are the published targets that the data file names; each target becomes a test of the
    claim.
    """
    return [_with_numbers(claim) for claim in read("paper_claims", tuple[PaperClaim, ...])]


def _with_numbers(claim: PaperClaim) -> PaperClaim:
    stated = [target(name) for name in claim.targets]
    tests = (*map(_test, stated), *map(_filled, claim.tests))
    return replace(claim, tests=tests, data=claim.data or stated[0].images)


def _test(stated: Target) -> ClaimTest:
    assert stated.variant is not None  # each claim of the paper is about a variant
    return ClaimTest(
        variant=stated.variant,
        versus=stated.versus,
        measure=stated.measure,
        unit=stated.unit,
        protocol=stated.protocol,
        target=stated.id,
        bound=stated.bound,
        expected=stated.published,
    )


def _filled(test: ClaimTest) -> ClaimTest:
    if test.target is None:
        return test
    stated = target(test.target)
    return replace(test, bound=stated.bound, expected=stated.published)
