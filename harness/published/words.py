"""Published errors and differences as text, for `list` and `show`."""

from __future__ import annotations

from harness.published.comparisons import Difference, Error
from harness.published.tables import BOUNDS, PROTOCOLS


def short(differences: tuple[Difference, ...], errors: tuple[Error, ...]) -> str:
    """For a column: "+1.4 / +1.2" points against another row, else an error "40.7 / 18.2 %", else a
    dash.
    """
    if differences:
        return difference(differences[0])
    return f"{error(errors[0])} %" if errors else "-"


def error(item: Error) -> str:
    """ "40.7 / 18.2" """
    return BOUNDS[item.bound] + _pair(item.top1_percent, item.top5_percent, "g")


def difference(item: Difference) -> str:
    """ "+1.4 / +1.2"; "> +1.0 / ?" if the source says "over 1 point" and gives no top-5 error."""
    return BOUNDS[item.bound] + _pair(item.top1_points, item.top5_points, "+g")


def about_difference(item: Difference) -> list[str]:
    """Lines of text: the difference and its base, the recipes of both sides, images and source, and
    the note.
    """
    base = f", which had {_pair(*item.base, 'g')} %" if item.base and not item.base_net else ""
    lines = [f"{difference(item)} points of top-1 / top-5 error against {item.versus}{base}"]
    if item.one_recipe:
        lines.append(f"same recipe for both: {item.recipe}")
    else:
        lines.append(
            f"different recipes: {item.recipe} for {item.variant}, {item.versus_recipe} for "
            f"{item.versus}"
        )
    if item.base_net:
        lines.append(f"measured on another network: {item.base_net}")
    return [*lines, _where(item), *([item.note] if item.note else [])]


def about_error(item: Error) -> str:
    """The error with its images and source."""
    return f"{error(item)} % top-1 / top-5; {_where(item)}"


def _where(item: Error | Difference) -> str:
    return f"{item.data}, {PROTOCOLS[item.protocol]}; {item.source}: {item.section}"


def _pair(top1: float | None, top5: float | None, form: str) -> str:
    """The source's digits, with at least one after the point."""
    digits = ["?" if number is None else format(number, form) for number in (top1, top5)]
    return " / ".join(text if "." in text or text == "?" else f"{text}.0" for text in digits)
