"""What was found, in sentences with numbers: the top of the report and the last lines of the command."""

from __future__ import annotations

from harness.report.claims import tally
from harness.report.evidence import Evidence, Setting
from harness.report.material import Material
from harness.report.sections.setup import machine
from harness.report.stats import CONFIDENCE, dunnett
from harness.report.text import count, listed, percent_with_interval, points_with_interval, start_command

MOST_NAMED = 6


def findings(given: Material) -> tuple[str, ...]:
    """Of the setting with the most runs; other settings and failures are counted."""
    evidence = given.evidence
    if not evidence.settings:
        return (_nothing(evidence), *_failures(evidence))
    setting = evidence.settings[0]
    protocol, records = setting.protocols[0], list(setting.records())
    ran = (
        f"{count(len(records), 'run')} of {count(len(setting.arms), 'variant')} finished on {setting.key.data.name} "
        f"({setting.key.geometry} geometry, {setting.key.length}) on "
        f"{listed(sorted({machine(r) for r in records}))}."
    )
    means = {name: mean for name in setting.arms if (mean := setting.error(name, protocol, "top1_error"))}
    lowest = min(means, key=lambda name: means[name].mean)
    best = f"Lowest top-1 error ({protocol}): {lowest}, {percent_with_interval(means[lowest], ' %')}"
    name = setting.base
    base = f"; {name}: {percent_with_interval(means[name], ' %')}." if name in means and lowest != name else "."
    verdicts = f"Published differences: {tally(given.judgements)}. {_undecided(given)}".strip()
    others = _other_settings(evidence)
    unlearnt = _unlearnt(setting, protocol)
    return (ran, best + base, *unlearnt, *_significant(given, protocol), verdicts, *others, *_failures(evidence))


def _unlearnt(setting: Setting, protocol: str) -> tuple[str, ...]:
    names = [name for name in setting.arms if setting.at_chance(name, protocol)]
    if not names:
        return ()
    return (f"No better than chance, in one seed at least: {listed(names)}; differences to such a net say nothing.",)


def _nothing(evidence: Evidence) -> str:
    return f"No run of study {evidence.study} has finished; start with: {start_command(evidence.study)}"


def _significant(given: Material, protocol: str) -> tuple[str, ...]:
    """The variants that differ from the base by Dunnett's test over seeds and by the interval over images.

    One protocol for all, the setting's first; the largest difference first. One seed alone gives no test.
    """
    setting = given.evidence.settings[0]
    by_seed = {name: list(setting.errors(name, protocol, "top1_error").values()) for name in setting.arms}
    base, tested = setting.base, [name for name, errors in by_seed.items() if len(errors) > 1]
    others = [name for name in tested if name != base]
    if base not in tested or not others or setting.at_chance(base, protocol):
        return ()
    p_values = dunnett([by_seed[name] for name in others], by_seed[base])
    candidates = [name for name, p in zip(others, p_values, strict=True) if p < 1 - CONFIDENCE]
    compared = [setting.compare(name, base, protocol, "top1_error") for name in candidates]
    found = [one for one in compared if one is not None and one.images is not None and one.images.excludes_zero]
    test = f"(Dunnett's test, {count(len(others), 'comparison')}, 5 % in all)"
    if not found:
        return (f"No variant is significantly different from {base} in top-1 error {test}.",)
    found.sort(key=lambda one: -abs(one.difference.mean))
    named = [f"{one.variant} {points_with_interval(one.difference)}" for one in found[:MOST_NAMED]]
    more = [f"{len(found) - MOST_NAMED} more"] if len(found) > MOST_NAMED else []
    return (f"Significantly different from {base} in top-1 error {test}, in points: {listed(named + more)}.",)


def _undecided(given: Material) -> str:
    waiting = [judgement for judgement in given.judgements if judgement.verdict == "inconclusive"]
    if waiting and all(judgement.obstacles for judgement in waiting):
        return "What ran can't decide them; the section on differences says why and what it would take."
    return ""


def _other_settings(evidence: Evidence) -> tuple[str, ...]:
    others = len(evidence.settings) - 1
    return (f"{count(others, 'other setting')} with fewer runs: see the sections below.",) if others else ()


def _failures(evidence: Evidence) -> tuple[str, ...]:
    broken = [item for item in evidence.set_aside if item.record.summary.status != "ok"]
    return (f"{count(len(broken), 'run')} failed or was interrupted and counts nowhere.",) if broken else ()
