"""The section on the paper's claims: each claim, what these runs measured, and what is needed to
decide it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.published.schema import ClaimTest, PaperClaim, fraction
from harness.report.arithmetic import settle
from harness.report.claims import Claim, Judgement, verdict_counts
from harness.report.data import ReportData
from harness.report.measures import EARLY_STEPS, MEASURES, measured
from harness.report.model import Block, Paragraph, Section
from harness.report.setting import METRICS, Metric
from harness.report.text import NONE, factor, points_with_interval, published_points
from harness.report.verdicts import Verdict
from harness.tables import Column, Table

EPOCHS_TO_25 = "iterations_to_25_percent_train_error"


def section(report: ReportData) -> Section:
    """A table of the paper's claims, then all other published differences that no run tests."""
    blocks: list[Block] = [_table(report)] if report.paper else []
    if report.judgements:
        text = (
            "Published differences in the catalogue, of all families: "
            f"{verdict_counts(report.judgements)}."
        )
        blocks.append(Paragraph(text=text))
    not_run = [judgement.claim for judgement in report.judgements if judgement.verdict == "not run"]
    blocks += [_not_run(not_run)] if not_run else []
    return Section(title="What is published, claim by claim", blocks=tuple(blocks))


def _table(report: ReportData) -> Table:
    needs = list(dict.fromkeys(claim.needs for claim in report.paper))  # several claims need the same
    return Table(
        caption="The paper's claims. The verdict is about the claim as printed, on its original "
        "images. The column "
        '"Measured here" may be about other images. Needs: what decides the claim, by number of the '
        "note below.",
        columns=(
            Column(heading="Sec."),
            Column(heading="Claim", share=1),
            Column(heading="Measured here"),
            Column(heading="Verdict"),
            Column(heading="Needs"),
        ),
        rows=tuple(
            (
                claim.section,
                claim.statement,
                *_settled(report, claim),
                f"[{needs.index(claim.needs) + 1}]",
            )
            for claim in report.paper
        ),
        notes=(
            *(f"[{place}] {text}" for place, text in enumerate(needs, 1)),
            "Measured here: differences in points over seeds, as in the section on differences; counts "
            "are taken from the layer table, without a run. Training error: on all training images "
            f"after the last epoch. Log loss: mean over the first {EARLY_STEPS} steps. The paper gives "
            "no rule for when a net has converged, so the claim on it is listed as not run.",
        ),
    )


def _settled(report: ReportData, claim: PaperClaim) -> tuple[str, str]:
    """What was measured, and the verdict. If several tests disagree, the verdict is inconclusive."""
    if claim.decided_by == "outside":
        return NONE, "not run"
    if claim.decided_by == "arithmetic":
        found = [settle(test, report.catalog[test.variant].spec) for test in claim.tests]
        return ", ".join(text for text, _ in found), _shared({verdict for _, verdict in found})
    if claim.tests and all(test.measure == EPOCHS_TO_25 for test in claim.tests):
        return _learning_speed(report, claim.tests[0])
    if claim.tests and all(test.measure in MEASURES for test in claim.tests):
        (test,) = claim.tests
        native = report.epochs.get(test.variant)
        settled = measured(test, claim.data, report.evidence.settings, native)
        return settled or (NONE, "not run")
    judgements = list(_judgements(report, claim))
    differences = ", ".join(filter(None, map(_difference, judgements))) or NONE
    return differences, _shared({judgement.verdict for judgement in judgements})


def _learning_speed(report: ReportData, test: ClaimTest) -> tuple[str, Verdict]:
    """The measured ratio of epochs and its verdict: "several times" where the claim is a lower
    limit, else "six".
    """
    for speed in report.evidence.learning_speeds:
        ratio = speed.ratio()
        if ratio is not None and (ratio.slow.variant, ratio.fast.variant) == (
            test.variant,
            test.versus,
        ):
            verdict = speed.several() if test.bound == "more_than" else speed.six()
            return f"{'> ' if ratio.slow.censored else ''}{factor(ratio.value)} times", verdict
    return NONE, "not run"


def _shared(verdicts: set[Verdict]) -> str:
    return next(iter(verdicts)) if len(verdicts) == 1 else ("inconclusive" if verdicts else "not run")


def _difference(judgement: Judgement) -> str | None:
    """The measured difference; an error on other images is not shown, since it can't be compared
    with the paper's.
    """
    if judgement.comparison is None or judgement.claim.versus is None:
        return None
    return (
        f"{METRICS[judgement.claim.metric][0]} {points_with_interval(judgement.comparison.difference)}"
    )


def _judgements(report: ReportData, claim: PaperClaim) -> Iterator[Judgement]:
    for test in claim.tests:
        metric = _metric(test)
        if metric is not None and test.expected is not None:
            yield report.judge(
                Claim(
                    variant=test.variant,
                    versus=test.versus,
                    metric=metric,
                    effect=fraction(test.expected),
                    data=claim.data,
                    protocol=None if test.protocol == "not_stated" else test.protocol,
                    source=claim.section,
                    relation=test.bound,
                )
            )


def _metric(test: ClaimTest) -> Metric | None:
    return next((metric for metric in METRICS if metric == test.measure), None)


def _not_run(claims: Sequence[Claim]) -> Table:
    """One row per pair of variants and source, with top-1 and top-5 side by side."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for claim in claims:
        recipes = " / ".join(dict.fromkeys((claim.recipe, claim.versus_recipe)))
        where = (
            claim.variant,
            str(claim.versus),
            recipes,
            claim.data,
            claim.protocol or NONE,
            claim.source,
        )
        rows.setdefault(where, {})[claim.metric] = published_points(claim.effect, claim.relation)
    return Table(
        caption="Published differences of error, in points, that these runs do not test. Recipes: one "
        "for both sides, or that of the variant and that of the other side.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Against"),
            *(Column(heading=label, align="right") for label, _ in METRICS.values()),
            Column(heading="Recipes", share=2),
            Column(heading="Images", share=2),
            Column(heading="Protocol"),
            Column(heading="Source", share=3),
        ),
        rows=tuple(
            (variant, versus, *(found.get(metric, NONE) for metric in METRICS), *where)
            for (variant, versus, *where), found in rows.items()
        ),
    )
