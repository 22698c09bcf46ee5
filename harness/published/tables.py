"""Published numbers as tables, one for each data set, split and protocol, so that they are never mixed.

The command line and the documentation use these tables. Numbers appear as printed: percent, points,
images per second. A number in brackets after a network refers to a note of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.published.schema import Bound, Measure, Target
from harness.published.targets import decimals
from harness.tables import Column, Table

TITLES: dict[Measure, str] = {
    "top1_error": "top-1",
    "top5_error": "top-5",
    "localisation_error": "localisation",
    "log_loss": "log loss",
    "iterations_ratio": "iterations, ratio",
    "training_hours": "hours",
    "parameters": "parameters",
    "neurons": "neurons",
    "conv1_neurons": "neurons of conv1",
    "macs": "MACs",
    "largest_conv_percent": "largest conv, % of parameters",
    "torch_lrn_alpha": "torch's LRN alpha",
    "images_per_second": "images/s",
}
ERRORS: tuple[Measure, ...] = ("top1_error", "top5_error", "localisation_error", "log_loss")
PROTOCOLS = {
    "centre": "centre crop",
    "ten_view": "ten views",
    "nine_view": "nine views",
    "training": "while training",
    "arithmetic": "from the layer table",
    "not_stated": "protocol not stated",
}
BOUNDS: dict[Bound, str] = {
    "equals": "",
    "about": "≈ ",
    "more_than": "> ",
    "less_than": "< ",
    "at_most": "≤ ",
}
READ = {
    "source": "",
    "secondary": " (second hand)",
    "computed": " (computed)",
    "memory": " (from memory)",
}


def tables(targets: Iterable[Target]) -> list[Table]:
    """One table for each (data set, split, protocol), and another one for the differences in it."""
    groups: dict[tuple[str, str, str, bool, bool], list[Target]] = {}
    for target in targets:
        key = (
            target.data,
            target.split,
            target.protocol,
            target.versus is not None,
            target.measure in ERRORS,
        )
        groups.setdefault(key, []).append(target)
    return [
        (_errors if group[0].measure in ERRORS else _quantities)(group) for group in groups.values()
    ]


def _errors(group: Sequence[Target]) -> Table:
    """A row for each network, a column for each kind of error."""
    shown = [measure for measure in ERRORS if any(target.measure == measure for target in group)]
    lines: dict[tuple[str, str | None], list[Target]] = {}
    for target in group:
        lines.setdefault((target.id.split("/")[0], target.versus), []).append(target)
    return _table(
        group,
        [_head(measure, group) for measure in shown],
        [_cells(line, shown) for line in lines.values()],
    )


def _cells(line: list[Target], shown: Sequence[Measure]) -> tuple[Target, list[str]]:
    numbers = {target.measure: _number(target) for target in line}
    return line[0], [numbers.get(measure, "") for measure in shown]


def _quantities(group: Sequence[Target]) -> Table:
    """A row for each number (counts, ratios, speeds) with its name."""
    return _table(
        group, ["number", "what"], [(t, [_number(t), _head(t.measure, group)]) for t in group]
    )


def _table(group: Sequence[Target], heads: list[str], lines: list[tuple[Target, list[str]]]) -> Table:
    notes = list(dict.fromkeys(target.note for target in group if target.note))
    minus = ("minus",) if group[0].versus is not None else ()
    return Table(
        caption=_caption(group[0]),
        columns=(
            *(Column(heading=name) for name in ("variant", "network")),
            *(Column(heading=name, align="left" if name == "what" else "right") for name in heads),
            *(Column(heading=name) for name in (*minus, "source")),
        ),
        rows=tuple(_row(first, cells, notes) for first, cells in lines),
        notes=tuple(notes),
    )


def _row(first: Target, cells: list[str], notes: list[str]) -> tuple[str, ...]:
    mark = f" [{notes.index(first.note) + 1}]" if first.note else ""
    change = " (other base net)" if first.relation == "same_change" else ""
    return (
        first.variant or "",
        first.net + change + mark,
        *cells,
        *((first.versus,) if first.versus is not None else ()),
        f"{first.source}: {first.section}{READ[first.confidence]}",
    )


def _caption(target: Target) -> str:
    where = "" if target.data == "none" else target.data
    split = "" if target.split == "none" else f" {target.split}"
    kind = "difference in points" if target.versus is not None else ""
    return ", ".join(part for part in (f"{where}{split}", PROTOCOLS[target.protocol], kind) if part)


def _head(measure: Measure, group: Sequence[Target]) -> str:
    unit = next(target.unit for target in group if target.measure == measure)
    return TITLES[measure] + (" %" if unit == "percent" and measure.endswith("error") else "")


def _number(target: Target) -> str:
    """The number as printed: with a sign for differences, thousands separators for counts, and the
    source's digits.
    """
    sign = "+" if target.versus is not None else ""
    if target.unit in ("count", "images_per_second"):
        return f"{BOUNDS[target.bound]}{target.published:{sign},.0f}"
    digits = decimals(target.published)
    return f"{BOUNDS[target.bound]}{target.published:{sign}.{digits}f}"
