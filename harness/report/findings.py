"""The findings as sentences with numbers, for the top of the report and the end of the command's
output.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.answers import significant
from harness.report.claims import verdict_counts
from harness.report.data import ReportData
from harness.report.evidence import Evidence
from harness.report.frames import estimate_of, rows_of
from harness.report.learning_speed import LearningSpeed
from harness.report.setting import Setting
from harness.report.text import (
    beyond_grid,
    count,
    epochs_to,
    factor,
    listed,
    machines,
    percent,
    percent_with_interval,
    points_with_interval,
    seeds_so_far,
    start_command,
)

MOST_NAMED = 6


def findings(report: ReportData) -> tuple[str, ...]:
    """The findings in the setting with the most runs; other settings and failed runs are only
    counted.
    """
    evidence = report.evidence
    timed = tuple(sentence for speed in evidence.learning_speeds for sentence in _learning_speed(speed))
    if not evidence.settings:
        return (*(timed or (_nothing(evidence),)), *_failures(evidence))
    setting = evidence.settings[0]
    verdicts = (
        f"Published differences: {verdict_counts(report.judgements)}. {_undecided(report)}".strip()
    )
    return (
        *timed,
        _finished(setting),
        _lowest(report, setting),
        *_at_chance(report, setting),
        *_significant(report, setting),
        verdicts,
        *_other_settings(evidence),
        *_failures(evidence),
    )


def _learning_speed(speed: LearningSpeed) -> Iterator[str]:
    """The epochs of each network, and the ratio with its verdicts."""
    goal = f"{percent(speed.threshold, 0)} % training error"
    for at in filter(None, map(speed.best, speed.variants)):
        yield (
            f"{at.variant} reaches {goal} after {epochs_to(at.mean, at.censored)} epochs at learning "
            f"rate {at.rate:g} (n = {len(at.runs)}, on {speed.data.contents or speed.data.name})."
        )
    yield from beyond_grid(speed)
    ratio = speed.ratio()
    if ratio is None:
        yield (
            f"{count(len(speed.searched), 'run')} of the search of learning rates finished; there is "
            "no ratio yet."
        )
        return
    between = (
        ""
        if ratio.bootstrap is None
        else f" ({factor(ratio.bootstrap.low)} to {factor(ratio.bootstrap.high)})"
    )
    more = "more than " if ratio.slow.censored else ""
    verdicts = (
        f'The paper\'s "several times" is {speed.several()}; the six times of its figure 1 is '
        f"{speed.six()}."
        if ratio.has_all_seeds
        else f"There are no verdicts yet: {seeds_so_far(ratio)}."
    )
    yield f"tanh needs {more}{factor(ratio.value)}{between} times the epochs of ReLU. {verdicts}"


def _finished(setting: Setting) -> str:
    records, key = list(setting.records()), setting.key
    return (
        f"{count(len(records), 'run')} of {count(len(setting.runs), 'variant')} finished on "
        f"{key.data.name} ({key.geometry} geometry, {key.length}) on {machines(records)}."
    )


def _lowest(report: ReportData, setting: Setting) -> str:
    protocol = setting.main_protocol
    means = {row.variant: estimate_of(row) for row in rows_of(report.errors(1, protocol))}
    lowest, base = min(means, key=lambda name: means[name].mean), setting.base
    text = f"Lowest top-1 error ({protocol}): {lowest}, {percent_with_interval(means[lowest], ' %')}"
    if base in means and lowest != base:
        text += f"; {base}: {percent_with_interval(means[base], ' %')}"
    return f"{text}."


def _at_chance(report: ReportData, setting: Setting) -> tuple[str, ...]:
    errors = report.errors(1, setting.main_protocol)
    names = errors.loc[errors["at_chance"].eq(True), "variant"].tolist()
    if not names:
        return ()
    return (
        f"No better than chance in at least one seed: {listed(names)}. Nothing is concluded from "
        "differences to these.",
    )


def _nothing(evidence: Evidence) -> str:
    return f"No run of study {evidence.study} has finished; start with: {start_command(evidence.study)}"


def _significant(report: ReportData, setting: Setting) -> tuple[str, ...]:
    """The variants that differ from the base by Dunnett's test over seeds and by the interval over
    images.

    All under the setting's first protocol; the largest difference comes first. With one seed there is
    no test.
    """
    frame, base = report.comparisons, setting.base
    tested = frame[(frame["setting"] == 1) & frame["dunnett_p"].notna()]
    if tested.empty:
        return ()
    rows = [row for row in rows_of(tested) if significant(row)]
    test = f"(Dunnett's test, {count(len(tested), 'comparison')}, 5 % level for all together)"
    if not rows:
        return (f"No variant is significantly different from {base} in top-1 error {test}.",)
    rows.sort(key=lambda row: -abs(row.mean))
    named = [f"{row.variant} {points_with_interval(estimate_of(row))}" for row in rows[:MOST_NAMED]]
    more = [f"{len(rows) - MOST_NAMED} more"] if len(rows) > MOST_NAMED else []
    return (
        f"Significantly different from {base} in top-1 error {test}, in points: "
        f"{listed(named + more)}.",
    )


def _undecided(report: ReportData) -> str:
    waiting = [judgement for judgement in report.judgements if judgement.verdict == "inconclusive"]
    if waiting and all(judgement.obstacles for judgement in waiting):
        return (
            "These runs can't decide them; the section on differences says why, and how many seeds are "
            "needed."
        )
    return ""


def _other_settings(evidence: Evidence) -> tuple[str, ...]:
    others = len(evidence.settings) - 1
    return (
        (f"{count(others, 'other setting')} with fewer runs: see the sections below.",)
        if others
        else ()
    )


def _failures(evidence: Evidence) -> tuple[str, ...]:
    broken = [item for item in evidence.set_aside if item.record.summary.status != "ok"]
    if not broken:
        return ()
    was, used = ("was", "is not used") if len(broken) == 1 else ("were", "are not used")
    return (f"{count(len(broken), 'run')} failed or {was} interrupted and {used}.",)
