"""Each difference to the base, paired by seed, beside the published one, with the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.published.comparisons import compared_with
from harness.report.claims import Judgement, claims_of, evaluated_under, judge_in
from harness.report.evidence import METRICS, PAPER_NET, Comparison, Metric, Setting
from harness.report.material import Material, in_setting
from harness.report.model import Block, Bullets, Paragraph, Section
from harness.report.stats import MOST_SEEDS
from harness.report.text import NONE, number, points_between, points_with_interval, published_points
from harness.tables import Column, Table

DIRECTIONS = {"same": "as published", "opposite": "opposite", "none": "none seen", None: NONE}

NOTE = (
    "Over seeds: mean of the differences between runs of the same seed, ± half of its 95 % interval. Over images: "
    "the 95 % interval were these networks tested on other images of the same source. Seeds it takes: to tell the "
    "published difference from 0 / to settle the claim, in 80 % of studies with the spread seen here. A dash: "
    "nothing is published, or one seed."
)


def section(given: Material) -> Section:
    """A table for top-1 and one for top-5 a setting, and below them why these runs can't decide a claim."""
    settings, blocks = given.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        tables = [_table(given, setting, metric) for metric in METRICS]
        blocks += in_setting(settings, place, [table for table in tables if table.rows])
        blocks += [Paragraph(text=NOTE)] if tables[0].rows else []
        blocks += _obstacles(given, setting)
    bases = list(dict.fromkeys(setting.base for setting in settings))
    title = f"Differences to {' or '.join(bases) or PAPER_NET}, and what is published"
    return Section(title=title, blocks=tuple(blocks) or (Paragraph(text="No two variants share a seed yet."),))


def pairs(given: Material, setting: Setting) -> Iterator[tuple[str, str]]:
    """(variant, versus) to show: everything against the base, then what is published against another variant."""
    for name in setting.arms:
        if name != setting.base:
            yield name, setting.base
    for name in setting.arms:
        versus = compared_with(given.catalog[name]) if name in given.catalog else None
        if versus is not None and versus not in (setting.base, name) and versus in setting.arms:
            yield name, versus


def judged(given: Material, setting: Setting, variant: str, versus: str, metric: Metric) -> Judgement | None:
    """The verdict of this setting's runs on the published difference of the pair, if one is published."""
    if variant not in given.catalog:
        return None
    found = [c for c in claims_of(given.catalog[variant]) if (c.versus, c.metric) == (versus, metric)]
    return judge_in(found[0], setting, given.epochs.get(variant)) if found else None


def seen(given: Material, setting: Setting, variant: str, versus: str, metric: Metric) -> Comparison | None:
    """The comparison a row shows: under the claim's protocol where there is one, else under the first."""
    verdict = judged(given, setting, variant, versus, metric)
    protocol = evaluated_under(verdict.claim, setting) if verdict else setting.protocols[0]
    return setting.compare(variant, versus, protocol, metric)


def _table(given: Material, setting: Setting, metric: Metric) -> Table:
    label = METRICS[metric][0]
    rows = (_row(given, setting, variant, versus, metric) for variant, versus in pairs(given, setting))
    return Table(
        caption=f"Differences of {label} error in percentage points, to {setting.base} unless named; plus is worse.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Pairs", align="right"),
            Column(heading="Over seeds", align="right"),
            Column(heading="Over images", align="right"),
            Column(heading="Published", align="right"),
            Column(heading="Direction"),
            Column(heading="Verdict"),
            Column(heading="Seeds it takes", align="right"),
        ),
        rows=tuple(row for row in rows if row is not None),
    )


def _row(given: Material, setting: Setting, variant: str, versus: str, metric: Metric) -> tuple[str, ...] | None:
    comparison = seen(given, setting, variant, versus, metric)
    if comparison is None:
        return None
    verdict = judged(given, setting, variant, versus, metric)
    name = variant if versus == setting.base else f"{variant}, against {versus}"
    shown = (name, str(comparison.difference.n), points_with_interval(comparison.difference))
    images = points_between(comparison.images)
    if verdict is None:
        return (*shown, images, NONE, NONE, NONE, NONE)
    size = ", the size differs" if verdict.size_differs else ""
    direction, takes = f"{DIRECTIONS[verdict.direction]}{size}", _takes(verdict)
    published = published_points(verdict.claim.effect, verdict.claim.relation)
    return (*shown, images, published, direction, verdict.verdict, takes)


def _takes(verdict: Judgement) -> str:
    if verdict.comparison is None or verdict.comparison.difference.n < 2:
        return NONE
    return " / ".join(
        f">{number(MOST_SEEDS)}" if n is None else number(n) for n in (verdict.to_detect, verdict.to_confirm)
    )


def _obstacles(given: Material, setting: Setting) -> Sequence[Block]:
    """Each obstacle once, with the variants it holds for."""
    held: dict[str, list[str]] = {}
    for variant, versus in pairs(given, setting):
        for metric in METRICS:
            verdict = judged(given, setting, variant, versus, metric)
            for obstacle in verdict.obstacles if verdict and verdict.comparison else ():
                names = held.setdefault(obstacle, [])
                names += [variant] if variant not in names else []
    if not held:
        return ()
    items = tuple(f"{obstacle} ({', '.join(names)})" for obstacle, names in held.items())
    return (Paragraph(text="Why these runs can't decide what is published:", lead=True), Bullets(items=items))
