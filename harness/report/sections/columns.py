"""The section on the paper's figure 3: does one column learn kernels of colour and the other not?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pandas as pd

from harness.records.record import RunRecord
from harness.report import figures
from harness.report.columns import (
    FROM_EPOCHS,
    PERMUTATIONS,
    ColourOfColumns,
    colour_index,
    colour_of_columns,
    columns_of,
)
from harness.report.data import ReportData, in_setting
from harness.report.model import Block, Figure, Paragraph, Section
from harness.report.setting import Setting
from harness.report.text import count, number_with_interval
from harness.tables import Column, Table

COLUMNS = ("less colour", "more colour")
LEAD = (
    "The paper says that in every run one column learns kernels without colour and the other kernels of "
    "colour (section 6.1). The colour index of a kernel is the fraction of its squared weights that is not "
    "common to red, green and blue: 0 sees only brightness, 1 only colour, and random weights have 2/3 on "
    "average. The test asks whether the two columns differ by more than if each kernel had been assigned to "
    "a column at random. A network without columns, split in the middle, is the comparison."
)


def section(report: ReportData) -> Section:
    """Empty without a net in two columns that was trained long enough to have kernels."""
    settings, blocks = report.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        found = _measured(setting)
        if any(one.columns for one in found):
            blocks += in_setting(settings, place, [_figure(setting, found, place), _table(found)])
    lead = [Paragraph(text=LEAD)] if blocks else []
    return Section(title="Colour in the two columns", blocks=(*lead, *blocks))


def _measured(setting: Setting) -> list[ColourOfColumns]:
    """The base, and the first net without columns that has as many kernels in conv1."""
    if setting.key.epochs < FROM_EPOCHS:
        return []
    runs = {name: list(seeds.values()) for name, seeds in setting.runs.items()}
    kernels = {name: len(records[0].array("conv1")) for name, records in runs.items()}
    without = (
        name
        for name, records in runs.items()
        if columns_of(records[0].spec.net) == 1 and kernels[name] == kernels[setting.base]
    )
    chosen = dict.fromkeys([setting.base, *islice(without, 1)])
    found = (colour_of_columns(name, runs[name]) for name in chosen)
    return [one for one in found if one is not None]


def _figure(setting: Setting, found: list[ColourOfColumns], place: int) -> Figure:
    names = [one.variant for one in found]
    dots = pd.concat([_dots(name, list(setting.runs[name].values())) for name in names])
    return Figure(
        file=f"columns-{place}.svg",
        caption="The colour index of every kernel of conv1, by seed. In each seed, the column with "
        "more colour is drawn on the right.",
        alt="Dots of colour indices by seed and column, for " + " and ".join(names),
        content=figures.column_colours(dots),
    )


def _dots(name: str, records: Sequence[RunRecord]) -> pd.DataFrame:
    """Columns variant, seed, column ("less colour", "more colour"), index: a row per kernel."""
    rows = []
    for record in records:
        halves = np.split(colour_index(record.array("conv1")), 2)
        for column, half in zip(COLUMNS, sorted(halves, key=np.mean), strict=True):
            rows += [(name, record.spec.seed, column, float(index)) for index in half]
    return pd.DataFrame(rows, columns=["variant", "seed", "column", "index"])


def _table(found: list[ColourOfColumns]) -> Table:
    return Table(
        caption="The colour index of conv1's kernels, mean over a column.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Column with less", align="right"),
            Column(heading="Column with more", align="right"),
            Column(heading="Gap", align="right"),
            Column(heading="p, all seeds", align="right"),
            Column(heading="Seeds with p < 0.05", align="right"),
        ),
        rows=tuple(
            (
                f"{one.variant}{'' if one.columns else ' (no columns)'}",
                *(number_with_interval(each, 3) for each in (one.low, one.high, one.gap)),
                f"{one.p:.4f}",
                f"{one.significant_seeds} of {count(one.gap.n, 'seed')}",
            )
            for one in found
        ),
        notes=(
            f"After ±: half of the 95 % interval over seeds. p: permutation test, {PERMUTATIONS:,} "
            "permutations.",
        ),
    )
