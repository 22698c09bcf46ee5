"""A setting: the runs that may be compared with each other, and the comparisons between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.records.store import RunRecord
from harness.report.stats import (
    Estimate,
    Interval,
    no_better_than_guessing,
    over_images,
    over_seeds,
    paired_by_seed,
)
from harness.spec import DataSpec
from variants.recipes.recipe import Geometry, Recipe
from variants.values import value

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
