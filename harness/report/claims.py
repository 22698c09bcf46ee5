"""Verdicts on published differences: reproduced, contradicted, inconclusive (the most frequent one) or
not run.

The rule: a band surrounds the published difference, of half its size on each side, and at most
0.5 points. *Reproduced*: the whole 95 % interval over seeds lies in the band. *Contradicted*: the
whole interval lies outside the band and outside the 95 % interval of the published value, which
comes from one run per side (PUBLISHED_RUN_SD). If the interval lies outside the band only, the size
differs, but chance in the published runs may explain it; that is inconclusive.
*Inconclusive*: anything else. The verdict is always inconclusive with one seed, on other images, at
another size, under another protocol, after a shorter training than the claim's, or with one recipe
if the two sides were published with different ones (own_recipes.py). Then the report gives only the
direction of the difference, and what is needed to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

from harness.published.comparisons import differences
from harness.published.schema import Bound, fraction
from harness.report.image_sets import image_obstacle
from harness.report.own_recipes import Sides, pairs, recipe_obstacle
from harness.report.setting import METRICS, Comparison, Metric, Setting, SettingKey
from harness.report.stats import Interval, seeds_to_confirm, seeds_to_detect, single_run_half_width
from harness.report.text import listed
from harness.report.verdicts import VERDICTS, Verdict
from variants.catalog import Variant
from variants.values import value

Direction = Literal["same", "opposite", "none"]
ONE_SEED = "one seed has no interval; at least 2 seeds of both networks are needed"
NO_SPREAD = "all seeds gave the same difference, so there is no interval; another seed is needed"
WIDEST_MARGIN = 0.005  # half a point

# Standard deviation of the error of one published run, from ten runs of run 145's network with
# ten-view errors in the 2012 log: 145, 155-158, 160, 169, 170, 171 and 174 (S
# layers/layer-params-N.cfg), 40.42 to 41.37 % top-1 and 18.04 to 19.04 % top-5. It is an upper
# bound, since the schedules of the runs differ. No such series is known for other networks, so it is
# used for them, too.
PUBLISHED_RUN_SD: dict[Metric, float] = {"top1_error": 0.0031, "top5_error": 0.0033}
PUBLISHED_RUNS = 10


@value
class Claim:
    """A published difference, error of `variant` minus error of `versus`, or an error (versus None), as
    a fraction.

    relation: whether the true value is claimed to equal `effect`, to be about it, or to lie above or
    below it.
    recipe, versus_recipe: the recipe of each side in the publication; equal names mean one recipe.
    """

    variant: str
    versus: str | None
    metric: Metric
    effect: float
    data: str
    protocol: str | None  # None: not stated, so that no protocol of ours can match
    source: str
    relation: Bound = "equals"
    recipe: str = ""
    versus_recipe: str = ""

    @property
    def margin(self) -> float:
        return min(abs(self.effect) / 2, WIDEST_MARGIN)

    @property
    def band(self) -> tuple[float, float]:
        """The band around the published value; unbounded on one side if the claim is a bound."""
        if self.relation == "more_than":
            return self.effect, inf
        if self.relation in ("less_than", "at_most"):
            return -inf, self.effect
        return self.effect - self.margin, self.effect + self.margin

    @property
    def sides(self) -> Sides | None:
        """Both rows with their recipes; None for an error."""
        return (
            None
            if self.versus is None
            else ((self.variant, self.recipe), (self.versus, self.versus_recipe))
        )

    @property
    def published_half_width(self) -> float:
        """Half of the 95 % interval of the published value, which is from one run, or one run per
        side.
        """
        runs = 1 if self.versus is None else 2
        return single_run_half_width(PUBLISHED_RUN_SD[self.metric], PUBLISHED_RUNS, runs)

    @property
    def possible(self) -> tuple[float, float]:
        """The 95 % interval of the published value by chance in its runs; it includes the band."""
        low, high = self.band
        half = self.published_half_width
        return min(low, self.effect - half), max(high, self.effect + half)


@value
class Judgement:
    """The verdict with its reasons. `obstacles`: why these runs can't decide, as clauses; empty if they
    can.

    size_differs: whether the interval over seeds lies outside the band; `verdict` says whether that
    contradicts the claim.
    direction: of the measured difference compared with the published sign; "none" if an interval
    includes 0; None if not judged.
    to_detect, to_confirm: seeds per side for 80 % power with the standard deviation of these runs;
    None if unknown or above MOST_SEEDS.
    """

    claim: Claim
    verdict: Verdict
    comparison: Comparison | None = None
    obstacles: tuple[str, ...] = ()
    size_differs: bool = False
    direction: Direction | None = None
    to_detect: int | None = None
    to_confirm: int | None = None


def claims_of(variant: Variant) -> tuple[Claim, ...]:
    """The row's published differences: one claim for each difference and metric."""
    return tuple(
        Claim(
            variant=variant.name,
            versus=found.versus,
            metric=metric,
            effect=fraction(points),
            data=found.data,
            protocol=None if found.protocol == "not_stated" else found.protocol,
            source=f"{found.source}: {found.section}",
            relation=found.bound,
            recipe=found.recipe,
            versus_recipe=found.versus_recipe,
        )
        for found in differences(variant)
        for metric, points in zip(METRICS, (found.top1_points, found.top5_points), strict=True)
        if points is not None
    )


def evaluated_under(claim: Claim, setting: Setting) -> str:
    """The claim's protocol if the runs have it, else centre."""
    return claim.protocol if claim.protocol in setting.protocols and claim.protocol else "centre"


def obstacles(
    claim: Claim, key: SettingKey, protocol: str, native_epochs: float | None
) -> tuple[str, ...]:
    """Why runs in this setting can't decide the claim, as clauses; empty if they can.

    native_epochs: length of the recipe that the variant was published with.
    """
    images = image_obstacle(claim.data, key.data)
    found = [images] if images else []
    if key.geometry == "mini":
        found.append("run at the mini geometry")
    if protocol != claim.protocol:
        found.append(
            f"published under {claim.protocol or 'a protocol not stated'}, evaluated under {protocol}"
        )
    if native_epochs is not None and key.epochs < native_epochs:
        found.append(f"trained for {key.epochs:g} of {native_epochs:g} epochs")
    return tuple(found)


def judge(claim: Claim, seen: Comparison | None, why_not: Sequence[str]) -> Judgement:
    """The verdict on a comparison. `why_not`: the result of obstacles() for its setting."""
    if seen is None:
        return Judgement(claim=claim, verdict="not run")
    if seen.difference.interval is None or not seen.difference.sd:
        spreadless = ONE_SEED if seen.difference.sd is None else NO_SPREAD
        return Judgement(
            claim=claim, verdict="inconclusive", comparison=seen, obstacles=(*why_not, spreadless)
        )
    verdict = "inconclusive" if why_not else decide(claim, seen.difference.interval)
    differs = not why_not and seen.difference.interval.outside(*claim.band)
    return Judgement(
        claim=claim,
        verdict=verdict,
        comparison=seen,
        obstacles=(_by_chance(claim),) if differs and verdict == "inconclusive" else tuple(why_not),
        size_differs=differs,
        direction=_direction(claim, seen),
        to_detect=seeds_to_detect(seen.difference.sd, claim.effect),
        to_confirm=seeds_to_confirm(seen.difference.sd, claim.margin),
    )


def judge_in(claim: Claim, setting: Setting, native_epochs: float | None) -> Judgement:
    """The verdict from the runs of one setting; "not run" if none of them tests the claim."""
    if claim.versus is None and not _bears_on(claim, setting.key):
        return judge(claim, None, ())
    protocol = evaluated_under(claim, setting)
    seen = setting.compare(claim.variant, claim.versus, protocol, claim.metric)
    nets = [name for name in (claim.variant, claim.versus) if name is not None and name in setting.runs]
    guessing = [name for name in nets if setting.at_chance(name, protocol)]
    unlearnt = [f"at least one seed of {name} is no better than chance" for name in guessing]
    recipes = recipe_obstacle(claim.sides, setting) if claim.sides else None
    reasons = (
        *obstacles(claim, setting.key, protocol, native_epochs),
        *([recipes] if recipes else []),
        *unlearnt,
    )
    return judge(claim, seen, reasons)


def judge_over(claim: Claim, settings: Sequence[Setting], native_epochs: float | None) -> Judgement:
    """The verdict of the setting with the fewest obstacles among those that ran the pair.

    If the two sides were published with different recipes, their runs are in two settings, which are
    combined here.
    """
    paired = tuple(pairs(claim.sides, settings)) if claim.sides else ()
    judged = [judge_in(claim, setting, native_epochs) for setting in (*paired, *settings)]
    ran = [judgement for judgement in judged if judgement.verdict != "not run"]
    return min(ran, key=lambda judgement: len(judgement.obstacles)) if ran else judge(claim, None, ())


def decide(claim: Claim, interval: Interval) -> Verdict:
    """The verdict for runs that can decide: reproduced, contradicted or inconclusive."""
    if interval.within(*claim.band):
        return "reproduced"
    return "contradicted" if interval.outside(*claim.possible) else "inconclusive"


def _by_chance(claim: Claim) -> str:
    runs = "one run" if claim.versus is None else "one run per side"
    half = f"{100 * claim.published_half_width:.1f}"
    return f"the size differs, but the published value is from {runs} and uncertain by ± {half} points"


def _direction(claim: Claim, seen: Comparison) -> Direction | None:
    """The direction of the difference, if neither the interval over seeds nor the one over images
    includes 0.
    """
    if claim.versus is None:
        return None
    intervals = [
        interval for interval in (seen.difference.interval, seen.images) if interval is not None
    ]
    if not all(interval.excludes_zero for interval in intervals):
        return "none"
    return "same" if (seen.difference.mean > 0) == (claim.effect > 0) else "opposite"


def _bears_on(claim: Claim, key: SettingKey) -> bool:
    """Whether runs on other images or at another size say anything: a difference has a direction, an
    error does not.
    """
    return image_obstacle(claim.data, key.data) is None and key.geometry != "mini"


def verdict_counts(judgements: Sequence[Judgement]) -> str:
    """`2 inconclusive and 3 not run`, in the order of the rule."""
    counts = [(name, sum(judgement.verdict == name for judgement in judgements)) for name in VERDICTS]
    return listed([f"{amount} {name}" for name, amount in counts if amount])
