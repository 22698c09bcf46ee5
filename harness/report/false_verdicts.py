"""How often the report's rules are wrong by chance, and how many seeds they need: simulated with known
true values.

`python -m harness.report.false_verdicts` prints docs/STATISTICS.md. The rules are those of the report
itself (claims.decide, stats.dunnett, learning_speed.Ratio), not copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.report.claims import PUBLISHED_RUN_SD, Claim, decide
from harness.report.learning_speed import SEVERAL
from harness.report.stats import CONFIDENCE, dunnett, over_seeds, ratio_of_means, ratio_of_means_by_t
from harness.report.verdicts import Verdict

SD = 0.0031  # of one run's top-1 error, as in the 2012 log
EFFECT = 0.014  # of response normalisation, paper sec. 3.3
SEEDS = (2, 3, 5, 10, 20)
CLAIM = Claim(
    variant="no_lrn", versus="grouped_2gpu", metric="top1_error", effect=EFFECT, data="ILSVRC-2010 test",
    protocol="ten_view", source="simulated",
)  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """How often each verdict was given, in `draws` simulated studies of `seeds` seeds a side."""

    seeds: int
    draws: int
    reproduced: float
    contradicted: float


def verdict_rates(
    true: float, seeds: int, draws: int, rng: np.random.Generator, published_sd: float = SD
) -> Rates:
    """Verdicts on CLAIM's form where the true difference is `true`, a fraction.

    Each draw also draws the published difference, of one run per side, around its own true value
    EFFECT.
    """
    found: list[Verdict] = []
    for _ in range(draws):
        published = EFFECT + rng.normal(0, published_sd * np.sqrt(2))
        claim = replace(CLAIM, effect=float(published))
        estimate = over_seeds(list(true + rng.normal(0, SD * np.sqrt(2), seeds)))
        assert estimate.interval is not None
        found.append(decide(claim, estimate.interval))
    return Rates(seeds, draws, found.count("reproduced") / draws, found.count("contradicted") / draws)


def significant_tables(
    effect: float, seeds: int, draws: int, rng: np.random.Generator, variants: int = 5
) -> float:
    """The fraction of tables of `variants` with a significant row. The first variant differs by
    `effect`, others don't.

    With effect 0 this is the rate of false findings of a whole table.
    """
    count = 0
    for _ in range(draws):
        arms = rng.normal(0.25, SD, (variants + 1, seeds))
        arms[1] += effect
        p = dunnett(list(arms[1:]), arms[0])
        count += (p[0] if effect else min(p)) < 1 - CONFIDENCE
    return count / draws


def false_ratios(seeds: int, draws: int, rng: np.random.Generator, spread: float = 0.08) -> float:
    """How often a ratio that is truly SEVERAL is called reproduced. spread: sd between seeds,
    relative.
    """
    count = 0
    for _ in range(draws):
        slow = rng.normal(20, 20 * spread, seeds)
        fast = rng.normal(20 / SEVERAL, 20 / SEVERAL * spread, seeds)
        intervals = (
            ratio_of_means(list(slow), list(fast))[1],
            ratio_of_means_by_t(list(slow), list(fast)),
        )
        count += all(one is not None and one.low > SEVERAL for one in intervals)
    return count / draws


def page(draws: int = 4000, tables: int = 400, seed: int = 2012) -> str:
    """docs/STATISTICS.md."""
    rng = np.random.default_rng(seed)
    margin = CLAIM.margin
    agree = [verdict_rates(EFFECT, n, draws, rng) for n in SEEDS]
    edge = [verdict_rates(EFFECT + margin, n, draws, rng, published_sd=0.0) for n in SEEDS]
    other = [verdict_rates(0.0, n, draws, rng) for n in SEEDS]
    rows = [
        (a.seeds, a.reproduced, a.contradicted, b.reproduced, c.contradicted, c.reproduced)
        for a, b, c in zip(agree, edge, other, strict=True)
    ]
    found = [
        (n, *(significant_tables(effect, n, tables, rng) for effect in (0.0, 0.005, 0.01, EFFECT)))
        for n in SEEDS
    ]
    ratios = [(n, false_ratios(n, tables, rng)) for n in SEEDS]
    sd = f"{100 * PUBLISHED_RUN_SD['top1_error']:.2f}"
    return f"""# How often the report's verdicts are wrong by chance

Written by `python -m harness.report.false_verdicts > docs/STATISTICS.md`: simulated studies with known true values go
through the report's own rules. The standard deviation of one run is {
        sd
    } points of top-1 error, as in the 2012 log. The
published difference is 1.4 points (response normalisation), from one run per side. Each row of the first table is from
{draws:,} studies, so that a rate of 5 % is known to ± {
        _known(draws)
    } points; those of the others are from {tables:,}
(± {_known(tables)} points).

## Verdicts on a published difference

{
        _table(
            (
                "Seeds a side",
                "True = published: reproduced",
                "contradicted (false)",
                "True at the edge of the band: reproduced (false)",
                "True = 0: contradicted",
                "reproduced (false)",
            ),
            rows,
        )
    }

The columns marked false must stay below 5 %. With few seeds nearly every verdict is inconclusive: that is the price.

## Significant rows of a table of five variants

{
        _table(
            (
                "Seeds",
                "No variant differs: tables with a significant row (false)",
                "One differs by 0.5 points: found",
                "by 1.0: found",
                "by 1.4: found",
            ),
            found,
        )
    }

Dunnett's test holds the rate of false findings for the whole table at 5 %, however many variants it has.

## The ratio of epochs (figure 1)

{_table(("Seeds", 'True ratio exactly 2: "several times" reproduced (false)'), ratios)}

The standard deviation between seeds is 8 % of the epochs here.
"""


def _known(draws: int) -> str:
    """Half of the 95 % interval of a rate of 5 %, in points."""
    return f"{100 * 1.96 * (0.05 * 0.95 / draws) ** 0.5:.1f}"


def _table(headings: Sequence[str], rows: Sequence[tuple[float, ...]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + " ---: |" * len(headings)]
    lines += [
        "| " + " | ".join([str(row[0]), *(f"{100 * rate:.1f} %" for rate in row[1:])]) + " |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
