"""Sorts sealed records into settings. Only runs of the same setting may be compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.records.store import RunRecord
from harness.report.cached import CachedRecord
from harness.report.learning_speed import LearningSpeed, is_timed, learning_speeds, timed_and_diverged
from harness.report.shared_recipe import recipe_label, shared_recipe
from harness.report.stats import (
    Estimate,
    Interval,
    no_better_than_guessing,
    over_images,
    over_seeds,
    paired_by_seed,
)
from harness.spec import DataSpec, RunSpec
from variants.catalog import CATALOG, Variant
from variants.recipes.recipe import Geometry, Recipe
from variants.values import value

PAPER_NET = "grouped_2gpu"
Metric = Literal["top1_error", "top5_error"]
AnyMetric = Literal["top1_error", "top5_error", "localisation_error"]
METRICS: dict[Metric, tuple[str, int]] = {"top1_error": ("top-1", 1), "top5_error": ("top-5", 5)}


@value
class SettingKey:
    """What must be equal for two runs to be compared: images, geometry, the contents of the recipe,
    device.

    shared, missing: what shared_recipe() returns. recipe: the recipe's name and its changes, as the
    name of the setting; it is not compared.
    """

    data: DataSpec
    geometry: Geometry
    recipe: str = field(compare=False)
    device: str
    shared: Recipe
    missing: tuple[str, ...] = ()

    @property
    def epochs(self) -> float:
        return self.shared.epochs

    @property
    def batch_size(self) -> int:
        return self.shared.batch_size

    @property
    def precision(self) -> str:
        return self.shared.precision

    @property
    def length(self) -> str:
        return f"{self.epochs:g} epoch{'' if self.epochs == 1 else 's'}"

    @property
    def label(self) -> str:
        return (
            f"{self.data.name}, {self.geometry} geometry, recipe {self.recipe} for {self.length}, "
            f"{self.device}"
        )


@value
class Comparison:
    """variant - versus under one protocol, paired by seed, or the error of variant if versus is None.

    images: the interval over images, if there is one.
    """

    variant: str
    versus: str | None
    protocol: str
    metric: Metric
    difference: Estimate
    images: Interval | None


@dataclass(frozen=True)
class Setting:
    """Comparable finished runs: variant -> seed -> record, variants in the catalogue's order.

    base: the variant that the others are compared with, one of `runs`. Every comparison is computed
    once and kept.
    """

    key: SettingKey
    runs: Mapping[str, Mapping[int, RunRecord]]
    base: str
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def records(self) -> Iterator[RunRecord]:
        for seeds in self.runs.values():
            yield from seeds.values()

    def first(self, most: int) -> tuple[str, ...]:
        """At most `most` variants for a plot: the base, then the others in the catalogue's order."""
        return tuple(sorted(self.runs, key=lambda name: name != self.base)[:most])

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of the records: centre, then the others by name."""
        known = {name for record in self.records() for name in record.summary.results}
        return tuple(sorted(known, key=lambda name: (name != "centre", name)))

    @property
    def main_protocol(self) -> str:
        """The one that figures and sentences use: centre where the runs have it."""
        return self.protocols[0]

    def errors(self, variant: str, protocol: str, metric: AnyMetric) -> dict[int, float]:
        """Error by seed, as fractions.

        Runs without this error are left out, such as those without boxes.
        """
        results = {
            seed: record.summary.results.get(protocol) for seed, record in self.runs[variant].items()
        }
        found = {
            seed: getattr(result, metric) for seed, result in results.items() if result is not None
        }
        return {seed: error for seed, error in found.items() if error is not None}

    def error(self, variant: str, protocol: str, metric: AnyMetric) -> Estimate | None:
        errors = self.errors(variant, protocol, metric)
        return over_seeds([errors[seed] for seed in sorted(errors)]) if errors else None

    def at_chance(self, variant: str, protocol: str) -> bool:
        """Whether a seed's network is no better than guessing by Wilson's interval over its images."""
        return bool(self._once((variant, protocol), lambda: self._at_chance(variant, protocol)))

    def _at_chance(self, variant: str, protocol: str) -> bool:
        images, classes = self.key.data.val_images, self.key.data.classes
        by_seed = self.errors(variant, protocol, "top1_error")
        return any(no_better_than_guessing(error, images, classes) for error in by_seed.values())

    def compare(
        self, variant: str, versus: str | None, protocol: str, metric: Metric
    ) -> Comparison | None:
        """The comparison of two variants; None if they have no common seed."""
        asked = (variant, versus, protocol, metric)
        made: Comparison | None = self._once(
            asked, lambda: self._compare(variant, versus, protocol, metric)
        )
        return made

    def _once(self, asked: tuple[str | None, ...], compute: Callable[[], Any]) -> Any:
        if asked not in self._kept:
            self._kept[asked] = compute()
        return self._kept[asked]

    def _compare(
        self, variant: str, versus: str | None, protocol: str, metric: Metric
    ) -> Comparison | None:
        if variant not in self.runs or (versus is not None and versus not in self.runs):
            return None
        if versus is None:
            difference, images = self.error(variant, protocol, metric), None
        else:
            ours, theirs = (self.errors(name, protocol, metric) for name in (variant, versus))
            difference = paired_by_seed(ours, theirs)
            images = self._over_images(variant, versus, protocol, metric)
        if difference is None:
            return None
        return Comparison(
            variant=variant,
            versus=versus,
            protocol=protocol,
            metric=metric,
            difference=difference,
            images=images,
        )

    def _over_images(self, variant: str, versus: str, protocol: str, metric: Metric) -> Interval | None:
        errors = [self.errors(name, protocol, metric) for name in (variant, versus)]
        shared, k = sorted(errors[0].keys() & errors[1].keys()), METRICS[metric][1]
        if len(shared) < 2:
            return None
        ours, theirs = (
            [self.runs[name][seed].correct(protocol, k) for seed in shared]
            for name in (variant, versus)
        )
        return over_images(ours, theirs)


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
