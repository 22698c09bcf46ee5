"""The plots, as bytes: the same records and library versions give the same bytes on any machine.

Colours are from seaborn's colour-blind-safe palette. Position, label or line style also identify each
line.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.report.stats import Estimate

WIDTH_IN = 6.7  # the text width of an A4 page
PAGE_IN = 8.6  # its height, less a caption
ROW_IN = 0.34
BELOW = 0.25  # distance of the seeds' dots below their mean, in rows
DPI = 160  # of pixels
# what would differ between two equal figures, by kind of file
UNDATED: Mapping[str, Mapping[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}
Frame: TypeAlias = pd.DataFrame
Drawing: TypeAlias = Callable[..., bytes]


@contextmanager
def plot_style() -> Iterator[None]:
    """Set the style of our plots, independent of the user's matplotlibrc, and restore the user's
    style afterwards.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(style="whitegrid", palette="colorblind", font="DejaVu Sans", font_scale=0.8)
        mpl.rcParams.update({"svg.hashsalt": "harness", "svg.fonttype": "path", "grid.linewidth": 0.5})
        yield


def drawn(draw: Callable[..., Figure]) -> Drawing:
    """Draw in that style and return the file without a date: SVG, or another `kind` of UNDATED."""

    @wraps(draw)
    def to_file(*args: Any, kind: str = "svg", **options: Any) -> bytes:
        with plot_style():
            figure, held = draw(*args, **options), io.BytesIO()
            figure.savefig(
                held, format=kind, dpi=DPI if kind == "png" else "figure", metadata=UNDATED[kind]
            )
        return held.getvalue()

    return to_file


@drawn
def errors(seeds: Frame, means: Mapping[str, Estimate], metric: str) -> Figure:
    """One row per variant: a dot per seed, the mean and, if there is one, its 95 % interval.

    seeds: columns variant, error_percent.
    """
    figure, ax = _panel(0.9 + ROW_IN * len(means))
    place = {name: row for row, name in enumerate(means)}
    dots = seeds.assign(row=seeds["variant"].map(place) + BELOW)
    sns.scatterplot(dots, x="error_percent", y="row", color="0.55", s=14, linewidth=0, ax=ax)
    colour = sns.color_palette()[0]
    for name, mean in means.items():
        half = None if mean.half_width is None else 100 * mean.half_width
        mark = "D" if half is None else "o"
        ax.errorbar(100 * mean.mean, place[name], xerr=half, fmt=mark, ms=5, capsize=3, color=colour)
    ax.set(xlabel=f"{metric} error (%)", ylabel="", ylim=(len(means) - 0.5, -0.5))
    ax.set_yticks(list(place.values()), list(place))
    return figure


@drawn
def forest(points: Frame) -> Figure:
    """One row per variant: the measured difference with its interval, and the published one above it.

    points: columns variant, mean, seeds_low, seeds_high, published, in points; an unknown number is
    NaN.
    """
    figure, ax = _panel(1.0 + ROW_IN * len(points))
    measured, published = sns.color_palette()[0], sns.color_palette()[3]
    ax.axvline(0, color="0.3", lw=0.8)
    rows: list[Any] = list(points.itertuples(index=False))
    for place, row in enumerate(rows):
        around = [[row.mean - row.seeds_low], [row.seeds_high - row.mean]]  # NaN draws nothing
        ax.errorbar(row.mean, place + BELOW / 2, xerr=around, fmt="o", ms=5, capsize=3, color=measured)
        ax.plot(row.published, place - BELOW / 2, "D", ms=5, mfc="white", mec=published, mew=1.4)
    ax.set(xlabel="difference of top-1 error (points)", ylabel="", ylim=(len(points) - 0.5, -0.5))
    ax.set_yticks(range(len(points)), list(points["variant"]))
    return figure


@drawn
def curves(losses: Frame, validation: Frame) -> Figure:
    """Training log loss and validation error over images seen, mean over seeds, with a colour and line
    style per variant.

    losses: columns variant, images_thousand, loss. validation: variant, images_thousand, error_percent.
    """
    figure = Figure(figsize=(WIDTH_IN, 2.6 + 0.07 * losses["variant"].nunique()), layout="constrained")
    axes = figure.subplots(1, 2)
    _lines(losses, "images_thousand", "loss", axes[0])
    _lines(validation, "images_thousand", "error_percent", axes[1], marker="o")
    axes[0].set(xlabel="images seen (thousand)", ylabel="training log loss")
    axes[1].set(xlabel="images seen (thousand)", ylabel="validation top-1 error (%)")
    _shared_legend(figure, axes)
    return figure


@drawn
def training_errors(curves: Frame, threshold_percent: float) -> Figure:
    """The training error over epochs, a thin line per run, as in the paper's figure 1.

    curves: columns variant, run_id, epoch, error_percent. The first variant is solid, the second
    dashed.
    """
    figure, ax = _panel(3.2)
    names = list(curves["variant"].unique())
    for name, colour, style in zip(names, sns.color_palette(), ("-", "--", ":", "-."), strict=False):
        for place, (_, run) in enumerate(
            curves[curves["variant"] == name].groupby("run_id", sort=True)
        ):
            label = name if place == 0 else None
            ax.plot(
                run["epoch"], run["error_percent"], style, color=colour, lw=1.0, alpha=0.8, label=label
            )
    ax.axhline(threshold_percent, color="0.3", lw=0.8, ls=(0, (6, 4)))
    ax.set(
        xlabel="epochs", ylabel="training error (%)", xlim=(0, None), ylim=(threshold_percent - 5, None)
    )
    ax.legend(frameon=False)
    return figure


@drawn
def column_colours(kernels: Frame) -> Figure:
    """A panel per variant, a pair of columns per seed, a dot per kernel.

    kernels: columns variant, seed, column, index.
    """
    names = list(kernels["variant"].unique())
    figure = Figure(figsize=(WIDTH_IN, 0.6 + 1.7 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False, sharey=True).flat
    palette = dict(zip(kernels["column"].unique(), sns.color_palette(), strict=False))
    for ax, name in zip(panels, names, strict=True):
        own = kernels[kernels["variant"] == name]
        sns.stripplot(
            own, x="seed", y="index", hue="column", palette=palette, dodge=True, jitter=False, size=3.5,
            alpha=0.7, ax=ax,
        )  # fmt: skip
        ax.axhline(2 / 3, color="0.3", lw=0.8, ls=(0, (6, 4)))
        ax.set(title=name, ylabel="colour index", ylim=(0, 1))
    _shared_legend(figure, list(figure.axes))
    return figure


@drawn
def confusion(percent: Frame) -> Figure:
    """A heat map of answers (columns) by label (rows), in percent of the label's images; the
    diagonal is left white.
    """
    side = 1.6 + 0.32 * len(percent)
    figure = Figure(figsize=(min(WIDTH_IN, side + 1.4), min(PAGE_IN, side)), layout="constrained")
    ax = figure.subplots()
    diagonal = np.eye(len(percent), dtype=bool)
    many = len(percent) > 20
    sns.heatmap(
        percent, mask=diagonal, annot=not many, fmt=".0f", cmap="Blues", square=True, linewidths=0.4, ax=ax,
        cbar_kws={"label": "% of the class"}, annot_kws={"fontsize": 7},
        xticklabels="auto" if many else 1, yticklabels="auto" if many else 1,
    )  # fmt: skip
    ax.set(xlabel="answer", ylabel="label")
    return figure


@drawn
def throughput(runs: Frame) -> Figure:
    """A bar at the median and a dot per run. runs: columns variant, images_per_second."""
    figure, ax = _panel(1.0 + ROW_IN * runs["variant"].nunique())
    sns.barplot(
        runs,
        x="images_per_second",
        y="variant",
        estimator="median",
        errorbar=None,
        color="#9ecae1",
        ax=ax,
    )
    sns.stripplot(runs, x="images_per_second", y="variant", jitter=False, color="0.25", size=4, ax=ax)
    ax.set(xlabel="images trained on per second", ylabel="", xlim=(0, None))
    return figure


@drawn
def utilisation(samples: Frame, label: str) -> Figure:
    """Utilisation over time, a line per variant. samples: columns variant, t_s, percent."""
    figure, ax = _panel(2.9)
    _lines(samples, "t_s", "percent", ax)
    ax.set(xlabel="time since the run began (s)", ylabel=label, ylim=(0, None))
    _shared_legend(figure, [ax])
    return figure


def filters(kernels: Mapping[str, NDArray[Any]], columns: Mapping[str, int]) -> bytes:
    """conv1's kernels as colour tiles (PNG), two variants per row, with a net's columns one below the
    other.

    kernels: (K, 3, k, k) by variant. columns: 1, or 2 for a net in two columns.
    """
    pictures = {
        name: _stacked(np.asarray(given, dtype=np.float32), columns[name])
        for name, given in kernels.items()
    }
    with plot_style():
        lines = -(-len(pictures) // 2)
        figure = Figure(figsize=(WIDTH_IN, 1.35 * lines), layout="constrained")
        panels = list(figure.subplots(lines, 2, squeeze=False).flat)
        for ax in panels:
            ax.set_axis_off()
        for ax, (name, picture) in zip(panels, pictures.items(), strict=False):
            ax.imshow(picture, interpolation="nearest")
            ax.set_title(f"{name}: column 1 above column 2" if columns[name] == 2 else name, fontsize=8)
        return as_png(figure)


def as_png(figure: Figure) -> bytes:
    """PNG without the name of the library's version. Call it within plot_style()."""
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=DPI, metadata=UNDATED["png"])
    return held.getvalue()


def _stacked(kernels: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    parts = [_tiles(part) for part in np.split(kernels, columns)]
    gap = np.ones((2, parts[0].shape[1], 3), dtype=np.float32)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1])


def _tiles(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K, 3, k, k) as one RGB image, each kernel scaled to its own range, 12 to 16 per row, one
    pixel apart.
    """
    low, high = (edge(kernels, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    scaled = (kernels - low) / np.maximum(high - low, 1e-12)
    each, side = len(kernels), kernels.shape[-1] + 1
    across = 12 if each <= 24 else 16
    lines = -(-each // across)
    picture = np.ones((lines * side, across * side, 3), dtype=np.float32)
    for i, kernel in enumerate(scaled):
        y, x = divmod(i, across)
        picture[y * side : y * side + side - 1, x * side : x * side + side - 1] = kernel.transpose(
            1, 2, 0
        )
    return picture


def _panel(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, min(height_in, PAGE_IN)), layout="constrained")
    return figure, figure.subplots()


def _lines(data: Frame, x: str, y: str, ax: Axes, **more: Any) -> None:
    """A line per variant through the means, with a band from the lowest to the highest seed."""
    names = list(dict.fromkeys(data["variant"]))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    options = {
        "hue": "variant",
        "style": "variant",
        "palette": colours,
        "errorbar": ("pi", 100),
        "linewidth": 1.1,
        "err_kws": {"alpha": 0.12, "lw": 0},
    }
    # 40 pairs with colours
    dashes = {name: DASHES[(i + i // 20) % len(DASHES)] for i, name in enumerate(names)}
    sns.lineplot(data, x=x, y=y, ax=ax, dashes=dashes, **options, **more)


DASHES: Sequence[Any] = ("", (4, 1.5), (1, 1), (3, 1, 1, 1))


def _shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Draw the legend below the panels, so that it hides no line."""
    handles, labels = axes[0].get_legend_handles_labels()
    for ax in axes:
        if (legend := ax.get_legend()) is not None:
            legend.remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
