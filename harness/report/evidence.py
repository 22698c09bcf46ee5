"""Sorts sealed records into settings. Only runs of the same setting may be compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.records.store import RunRecord
from harness.report.cached import CachedRecord
from harness.report.learning_speed import LearningSpeed, is_timed, learning_speeds, timed_and_diverged
from harness.report.setting import Setting, SettingKey
from harness.report.shared_recipe import recipe_label, shared_recipe
from harness.spec import RunSpec
from variants.catalog import CATALOG, Variant

PAPER_NET = "grouped_2gpu"


@dataclass(frozen=True)
class SetAside:
    """A record that is not used in any number, with the reason."""

    record: RunRecord
    reason: str


@dataclass(frozen=True)
class Evidence:
    """The records of a report, sorted into settings, runs to a training error (learning_speed.py), and
    others.

    reference_settings, reference_records: those that came with the clone; no number of the others
    includes them.
    """

    study: str
    settings: tuple[Setting, ...]
    learning_speeds: tuple[LearningSpeed, ...]
    reference_settings: tuple[Setting, ...]
    set_aside: tuple[SetAside, ...]
    own: tuple[CachedRecord, ...]
    reference_records: tuple[CachedRecord, ...]


def gather(
    study: str,
    own: Sequence[RunRecord],
    reference: Sequence[RunRecord],
    order: Sequence[str],
    versus: Mapping[str, str] | None = None,
    catalog: Mapping[str, Variant] = CATALOG,
) -> Evidence:
    """Sort the records; the order in which they are given doesn't matter.

    order: names of variants in the order of the tables. versus: the base of each variant's published
    difference, if there is one. catalog: the rows whose recipe_changes are undone (shared_recipe.py).
    """
    ours, theirs = (
        tuple(sorted(map(CachedRecord.of, records), key=lambda record: record.summary.run_id))
        for records in (own, reference)
    )
    settings, set_aside = _settings(ours, order, versus or {}, catalog)
    reference_settings, _ = _settings(theirs, order, versus or {}, catalog)
    return Evidence(study, settings, learning_speeds(ours), reference_settings, set_aside, ours, theirs)


def _settings(
    records: Sequence[RunRecord],
    order: Sequence[str],
    versus: Mapping[str, str],
    catalog: Mapping[str, Variant],
) -> tuple[tuple[Setting, ...], tuple[SetAside, ...]]:
    unfinished = [record for record in records if record.summary.status != "ok"]
    aside = [
        SetAside(record, _why_unfinished(record))
        for record in unfinished
        if not timed_and_diverged(record)
    ]
    finished = [record for record in records if record.summary.status == "ok" and not is_timed(record)]
    made = []
    for key, group in _grouped(
        finished, lambda run: _key(run.spec, catalog.get(run.spec.variant))
    ).items():
        by_variant = {}
        for variant, runs in sorted(
            _grouped(group, lambda run: run.spec.variant).items(), key=_in(order)
        ):
            by_variant[variant], left = _one_run_per_seed(runs)
            aside += left
        made.append(Setting(key, by_variant, _base(list(by_variant), versus)))
    made.sort(
        key=lambda setting: (-len(list(setting.records())), setting.key.label, setting.key.data.listing)
    )
    aside.sort(key=lambda item: item.record.summary.run_id)
    return tuple(made), tuple(aside)


def _base(variants: Sequence[str], versus: Mapping[str, str]) -> str:
    """The paper's net if it ran, else the first variant that is the base of a published difference,
    else the first.
    """
    named = [versus[name] for name in variants if versus.get(name, name) != name]
    return next((name for name in (PAPER_NET, *named) if name in variants), variants[0])


def _one_run_per_seed(runs: Sequence[RunRecord]) -> tuple[dict[int, RunRecord], list[SetAside]]:
    """One run per seed, all with the spec of the latest run."""
    current, kept, left = _contents(runs[-1]), dict[int, RunRecord](), list[SetAside]()
    for run in runs:
        if _contents(run) != current:
            left.append(SetAside(run, "the variant or its recipe has changed since this run"))
        elif run.spec.seed in kept:
            left.append(SetAside(run, f"repeats seed {run.spec.seed}, which counts once"))
        else:
            kept[run.spec.seed] = run
    return dict(sorted(kept.items())), left


def _why_unfinished(record: RunRecord) -> str:
    return f"{record.summary.status}: {record.summary.status_reason or 'no reason recorded'}"


def _contents(record: RunRecord) -> RunSpec:
    """What must be equal for all seeds of a variant: the spec without names and seed."""
    spec = record.spec
    return replace(spec, variant="", seed=0, overrides=(), recipe=replace(spec.recipe, name=""))


def _key(spec: RunSpec, row: Variant | None) -> SettingKey:
    shared, missing = shared_recipe(spec, row)
    return SettingKey(
        data=spec.data,
        geometry=spec.geometry,
        recipe=recipe_label(shared, spec.recipe.name, missing),
        device=spec.devices,
        shared=shared,
        missing=missing,
    )


def _grouped(
    records: Sequence[RunRecord], key: Callable[[RunRecord], Any]
) -> dict[Any, list[RunRecord]]:
    groups: dict[Any, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _in(order: Sequence[str]) -> Callable[[tuple[str, Any]], tuple[int, str]]:
    place = {name: i for i, name in enumerate(order)}
    return lambda item: (place.get(item[0], len(place)), item[0])
