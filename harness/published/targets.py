"""The published numbers as targets: one value for each measured number of a variant.

Numbers are comparable only within one data set, split and protocol; `tables()` makes one table for each
of these. Differences are computed here from two numbers, unless the source prints only the difference.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, cast

from harness.published.load import measurements, sources
from harness.published.schema import UNITS, Measure, Target

if TYPE_CHECKING:
    from harness.published.schema import Accuracy, Measurement, Speed


def targets(variant: str | None = None) -> list[Target]:
    """Published numbers of `variant`, or all of them. An unknown name gives an empty result."""
    return [target for target in _all() if variant in (None, target.variant)]


def target(name: str) -> Target:
    """The published number of that id, such as "paper.lrn/top1_error"; KeyError where there is none."""
    return _by_id()[name]


def of_measurement(item: Measurement) -> list[Target]:
    """The numbers of one measurement, then its differences to each of its baselines."""
    numbers = [_absolute(item, *pair) for pair in item.values.items()]
    known = measurements()
    return numbers + [
        found for base in item.baselines for found in _differences(item, numbers, known[base])
    ]


def recipe_of(item: Measurement) -> str | None:
    """The name of one of our recipes, or a description of another recipe; None if it is unknown."""
    from variants.catalog import CATALOG

    return item.recipe or (CATALOG[item.variant].recipe if item.variant else None)


@cache
def _by_id() -> dict[str, Target]:
    return {found.id: found for found in _all()}


@cache
def _all() -> tuple[Target, ...]:
    from harness.published.history import speeds

    made = [found for item in measurements().values() for found in of_measurement(item)]
    return (*made, *(_of_speed(speed) for speed in speeds()))


def _differences(item: Measurement, numbers: list[Target], base: Measurement) -> list[Target]:
    before = {
        target.measure: target for target in (_absolute(base, *pair) for pair in base.values.items())
    }
    note = "; ".join(part for part in (item.note, _other_recipe(item, base)) if part) or None
    found = [_difference(now, before[now.measure], base) for now in numbers if now.measure in before]
    return [replace(one, note=note) for one in found]


def _other_recipe(item: Measurement, base: Measurement) -> str | None:
    ours, theirs = recipe_of(item), recipe_of(base)
    if ours is None or theirs is None or ours == theirs:
        return None
    return (
        f"different recipes: {ours} for {item.variant or item.id}, {theirs} for "
        f"{base.variant or base.id}"
    )


def _absolute(item: Measurement, name: Measure | Accuracy, number: float) -> Target:
    """The error that corresponds to an accuracy, with the same number of digits."""
    measure = cast(Measure, name.replace("_accuracy", "_error"))
    published = number if measure == name else round(100 - number, 6)
    return Target(
        id=f"{item.id}/{measure}",
        variant=item.variant,
        relation=item.relation,
        net=item.net,
        measure=measure,
        published=published,
        unit=_unit(measure, item.versus),
        published_as=name,
        data=item.data,
        split=item.split,
        protocol=item.protocol,
        versus=item.versus,
        source=item.source,
        section=item.section,
        place=sources()[item.source].place,
        confidence=item.confidence,
        bound=item.bound,
        note=item.note,
    )


def _difference(now: Target, before: Target, base: Measurement) -> Target:
    """`now` minus `before`, both as printed.

    The result has no more digits than an estimated `before`.
    """
    versus = base.variant or base.id
    digits = decimals(before.published) if before.bound == "about" else 6
    return replace(
        now,
        id=f"{now.id}-{base.id}",
        published=round(now.published - before.published, digits),
        unit=_unit(now.measure, versus),
        versus=versus,
        confidence="computed" if now.verified and before.verified else now.confidence,
        bound=now.bound if before.bound == "equals" else before.bound,
    )


def _of_speed(speed: Speed) -> Target:
    return Target(
        id=f"{speed.id}/images_per_second",
        variant=speed.variant,
        relation="same" if speed.variant else "none",
        net=f"{speed.net}; {speed.machine}; {speed.software}",
        measure="images_per_second",
        published=round(speed.throughput.images_per_second),
        unit="images_per_second",
        published_as="images_per_second",
        data=f"ILSVRC-2012 ({speed.images} images)",
        split="train" if speed.mode == "training" else "val",
        protocol="training" if speed.mode == "training" else "not_stated",
        versus=None,
        source=speed.source,
        section=speed.section,
        place=sources()[speed.source].place,
        confidence=speed.confidence,
        bound="equals",
        note=f"timed: {speed.timed}" + (f"; {speed.note}" if speed.note else ""),
    )


def decimals(number: float) -> int:
    """Number of digits after the point, at least 1."""
    return max(len(repr(float(number)).partition(".")[2]), 1)


def _unit(measure: Measure, versus: str | None) -> str:
    return "points" if versus is not None and UNITS[measure] == "percent" else UNITS[measure]
