"""Top-1 and top-5 error per variant with mean, interval and number of seeds: a table a protocol, a plot a setting."""

from __future__ import annotations

import pandas as pd

from harness.report import figures
from harness.report.evidence import METRICS, Setting
from harness.report.material import Material, in_setting
from harness.report.model import Block, Figure, Paragraph, Section
from harness.report.stats import Interval, finite_test_set
from harness.report.text import NONE, percent, percent_with_interval
from harness.tables import Column, Table

PROTOCOLS = {
    "centre": "the centre crop",
    "mirror": "the mirror image of the centre crop",
    "ten_view": "five crops and their mirror images, probabilities averaged",
    "nine_view": "nine crops, probabilities averaged",
}

NOTE = (
    "After ±: half of the 95 % interval of the mean over seeds (Student's t). One seed has no interval, and none is "
    "printed. Last column: where the error of the first seed's network alone would lie on as many other images of "
    "the same source (Wilson's 95 % interval); it says nothing about other seeds."
)
LOCALISATION = "Localisation error: the share of images with a wrong first guess or a box that overlaps by IoU < 0.5."


def section(given: Material) -> Section:
    """Tables of all protocols, each on its own; the plot shows the centre crop."""
    settings, blocks = given.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        tables = [error_table(setting, protocol) for protocol in setting.protocols]
        blocks += in_setting(settings, place, [_plot(setting, place), *tables])
        blocks.append(Paragraph(text=NOTE))
    return Section(title="Errors", blocks=tuple(blocks) or (Paragraph(text="No finished runs."),))


def error_table(setting: Setting, protocol: str) -> Table:
    """One row a variant, in the catalogue's order; a column for boxes where a network predicts some."""
    boxed = any(setting.errors(name, protocol, "localisation_error") for name in setting.arms)
    return Table(
        caption=f"Error on {setting.key.data.name}, {PROTOCOLS.get(protocol, protocol)} ({protocol}).",
        columns=(
            Column(heading="Variant"),
            Column(heading="Seeds", align="right"),
            Column(heading="Top-1 error, %", align="right"),
            Column(heading="Top-5 error, %", align="right"),
            Column(heading="Lowest to highest top-1, %", align="right"),
            Column(heading="First seed, other images: top-1, %", align="right"),
            *([Column(heading="Localisation error, %", align="right")] if boxed else []),
        ),
        rows=tuple(row for name in setting.arms if (row := _row(setting, name, protocol, boxed)) is not None),
        notes=(LOCALISATION,) if boxed else (),
    )


def _row(setting: Setting, variant: str, protocol: str, boxed: bool) -> tuple[str, ...] | None:
    by_seed = setting.errors(variant, protocol, "top1_error")
    means = {metric: setting.error(variant, protocol, metric) for metric in METRICS}
    if not by_seed:
        return None
    located = setting.error(variant, protocol, "localisation_error")
    images = setting.arms[variant][min(by_seed)].summary.results[protocol].images
    return (
        variant,
        str(len(by_seed)),
        *(NONE if mean is None else percent_with_interval(mean) for mean in means.values()),
        _between(Interval(low=min(by_seed.values()), high=max(by_seed.values()))),
        _between(finite_test_set(by_seed[min(by_seed)], images)),
        *([NONE if located is None else percent_with_interval(located)] if boxed else []),
    )


def _between(interval: Interval) -> str:
    return f"{percent(interval.low)} to {percent(interval.high)}"


def _plot(setting: Setting, place: int) -> Figure:
    protocol = setting.protocols[0]
    by_seed = {name: setting.errors(name, protocol, "top1_error") for name in setting.arms}
    means = {name: mean for name in setting.arms if (mean := setting.error(name, protocol, "top1_error"))}
    rows = [(name, 100 * error) for name, errors in by_seed.items() for error in errors.values()]
    return Figure(
        file=f"errors-{place}.svg",
        caption=f"Top-1 error ({protocol}). Grey: each seed. Blue: the mean with its 95 % interval; a diamond stands "
        "for a single seed, which has none.",
        alt="Top-1 error of each variant: " + ", ".join(f"{name} {percent(m.mean)} %" for name, m in means.items()),
        content=figures.errors(pd.DataFrame(rows, columns=["variant", "error_percent"]), means, "top-1"),
    )
