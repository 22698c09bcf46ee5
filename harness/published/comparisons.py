"""Published errors and differences of the catalogue's rows, with the recipes of both sides.

A row names the measurements that it is compared with (`Variant.published`). Their numbers are in the
data files; differences of two measurements are computed. Neither torch nor pydantic is loaded, since
`list` and `show` use this.
"""

from __future__ import annotations

from harness.published.load import measurements
from harness.published.schema import Bound, Measure, Measurement, Protocol, Target
from harness.published.targets import of_measurement, recipe_of
from variants.catalog import CATALOG, Variant
from variants.values import value

ERRORS: tuple[Measure, ...] = ("top1_error", "top5_error")


@value
class Error:
    """A published error of a row, in percent as printed.

    None: not published, which is frequent for top-5.
    """

    id: str
    variant: str
    recipe: str
    top1_percent: float | None
    top5_percent: float | None
    bound: Bound
    data: str
    protocol: Protocol
    source: str
    section: str
    note: str | None


@value
class Difference:
    """A published difference, error of `variant` minus error of `versus`, in percentage points.

    recipe, versus_recipe: the recipe of each side, by the name of one of our recipes or a description
    of another one.
    base: the errors that were subtracted, in percent (top-1, top-5); None if the source prints only the
    difference.
    base_net: a description of the network measured instead of `versus`; None if it was `versus` itself.
    """

    id: str
    variant: str
    recipe: str
    versus: str
    versus_recipe: str
    base: tuple[float | None, float | None] | None
    base_net: str | None
    top1_points: float | None
    top5_points: float | None
    bound: Bound
    data: str
    protocol: Protocol
    source: str
    section: str
    note: str | None

    @property
    def one_recipe(self) -> bool:
        """Whether both sides had the same recipe, so that only the network differs."""
        return self.recipe == self.versus_recipe


def errors(row: Variant) -> tuple[Error, ...]:
    """The published errors of the row's network, in the row's order.

    A "same_change" of another network is left out.
    """
    return tuple(made for name in row.published if (made := _error(row, measurements()[name])))


def differences(row: Variant) -> tuple[Difference, ...]:
    """The published differences to other rows, in the row's order, at most one per measurement."""
    return tuple(made for name in row.published if (made := _difference(row, measurements()[name])))


def compared_with(row: Variant) -> str | None:
    """The row that the first published difference of `row` refers to; None if no difference is
    published.
    """
    return next((found.versus for found in differences(row)), None)


def _error(row: Variant, item: Measurement) -> Error | None:
    found = {target.measure: target for target in of_measurement(item) if target.versus is None}
    if item.relation != "same" or not found.keys() & set(ERRORS):
        return None
    top1, top5 = (found[measure].published if measure in found else None for measure in ERRORS)
    return Error(
        id=item.id,
        variant=row.name,
        recipe=item.recipe or row.recipe,
        top1_percent=top1,
        top5_percent=top5,
        bound=item.bound,
        data=next(iter(found.values())).images,
        protocol=item.protocol,
        source=item.source,
        section=item.section,
        note=item.note,
    )


def _difference(row: Variant, item: Measurement) -> Difference | None:
    """The printed difference, or the computed one to the first baseline that is a row or replaces
    one.
    """
    base = next((known for name in item.baselines if _row_of(known := measurements()[name])), None)
    versus = _row_of(base) if base else item.versus
    if versus is None:
        return None
    found = _numbers(item, base)
    first = next(iter(found.values()))
    top1, top5 = (found[measure].published if measure in found else None for measure in ERRORS)
    return Difference(
        id=item.id,
        variant=row.name,
        recipe=item.recipe or row.recipe,
        versus=versus,
        versus_recipe=(recipe_of(base) if base else item.recipe) or CATALOG[versus].recipe,
        base=_errors_of(base) if base else None,
        base_net=base.net if base and base.variant is None else None,
        top1_points=top1,
        top5_points=top5,
        bound=first.bound,
        data=first.images,
        protocol=item.protocol,
        source=item.source,
        section=item.section,
        note=item.note,
    )


def _row_of(item: Measurement) -> str | None:
    return item.variant or item.stands_for


def _numbers(item: Measurement, base: Measurement | None) -> dict[Measure, Target]:
    """The differences in error, by measure: to `base`, or as printed."""
    end = f"-{base.id}" if base else "_error"
    found = [
        target
        for target in of_measurement(item)
        if target.versus is not None and target.id.endswith(end)
    ]
    return {target.measure: target for target in found if target.measure in ERRORS}


def _errors_of(base: Measurement) -> tuple[float | None, float | None]:
    found = {
        target.measure: target.published for target in of_measurement(base) if target.versus is None
    }
    return found.get("top1_error"), found.get("top5_error")
