"""The roofline of a network's layers: the table and the plot, for the report and for `bench roofline`."""

from __future__ import annotations

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.records.bench import BenchResult
from harness.report import figures
from harness.report.text import number, percent
from harness.tables import Column, Table

CEILINGS = {"conv": "convolution", "gemm": "matrix product"}
ON_MAPS = ("conv", "local", "inception")
COUNTED = (
    "Forward and backward pass over a batch, each layer on its own. Counted are two FLOP for a "
    "multiply-accumulate (the first layer has no gradient by the image), and the least bytes that the "
    "passes read and write: input, output, their gradients, weights; no masks, indices or workspaces. "
    "The bound is the larger of the times that these need at the highest rates measured in the same "
    "run: a matrix product, convolutions, and copies of tensors about as large as the layer's own."
)


def roofline_table(found: BenchResult) -> Table:
    """A row per layer."""
    rows = [
        (
            layer.name,
            number(layer.macs / 1e6, 1),
            number(layer.bytes / 1e6, 1),
            number(layer.intensity, 1),
            number(layer.ms, 2),
            number(layer.gflops, 1),
            layer.bound,
            number(layer.least_ms, 2),
            percent(layer.reached, 0),
        )
        for layer in found.layers
    ]
    held = found.values
    copies = ", ".join(
        f"{rate:,.1f} GB/s at {size} MiB" for size, rate in zip(*_copies(found), strict=True)
    )
    return Table(
        caption="What bounds each layer",
        columns=(
            Column(heading="Layer"),
            Column(heading="MMAC", align="right"),
            Column(heading="MB", align="right"),
            Column(heading="FLOP/byte", align="right"),
            Column(heading="ms", align="right"),
            Column(heading="GFLOP/s", align="right"),
            Column(heading="Bound by"),
            Column(heading="Bound, ms", align="right"),
            Column(heading="Bound reached, %", align="right"),
        ),
        rows=tuple(rows),
        notes=(
            COUNTED,
            f"Highest rates: matrix product {held['gemm_gflops']:,.1f} GFLOP/s, convolution "
            f"{held['conv_gflops']:,.1f} GFLOP/s; copying {copies}, by the size of source and target.",
        ),
    )


@figures.drawn
def roofline_plot(found: BenchResult) -> Figure:
    """Left: the layers with multiply-accumulates below the ceilings. Right: each layer's time, and the
    part of it that its bound explains.
    """
    size = (figures.WIDTH_IN, min(figures.PAGE_IN, 1.4 + 0.16 * len(found.layers)))
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _ceilings(found, left)
    _times(found, right)
    return figure


def _ceilings(found: BenchResult, ax: Axes) -> None:
    points = [layer for layer in found.layers if layer.macs]
    held, colours = found.values, sns.color_palette()
    sizes, rates = _copies(found)
    reach = np.geomspace(
        min(layer.intensity for layer in points) / 3, 3 * max(layer.intensity for layer in points), 100
    )
    top = max(held["gemm_gflops"] or 0, held["conv_gflops"] or 0)
    for place, label in ((int(np.argmax(rates)), "fastest copy"), (len(sizes) - 1, "copy from memory")):
        slope = np.minimum(rates[place] * reach, top)
        ax.plot(reach, slope, ("--", ":")[place == len(sizes) - 1], color="0.3", lw=1, label=label)
    for name, colour in (("conv", colours[0]), ("gemm", colours[1])):
        ax.axhline(held[f"{name}_gflops"] or 0, color=colour, lw=1, label=CEILINGS[name])
    for place, layer in enumerate(sorted(points, key=lambda layer: layer.intensity)):
        at = (layer.intensity, layer.gflops)
        ax.plot(*at, "o", ms=5, color=colours[0] if layer.kind in ON_MAPS else colours[1])
        # neighbours have their names on different sides
        offset, side = ((5, -8), "left") if place % 2 else ((-5, 4), "right")
        ax.annotate(layer.name, at, offset, textcoords="offset points", ha=side, fontsize=7)
    ax.set(xscale="log", yscale="log", xlabel="FLOP per byte", ylabel="GFLOP/s")
    ax.legend(frameon=False, fontsize=7, loc="lower right")


def _times(found: BenchResult, ax: Axes) -> None:
    places, colours = range(len(found.layers)), sns.color_palette()
    ax.barh(places, [layer.ms for layer in found.layers], color="0.8", label="measured")
    ax.barh(
        places, [layer.least_ms for layer in found.layers], height=0.4, color=colours[0], label="bound"
    )
    ax.set(xlabel="forward and backward (ms)", ylim=(len(found.layers) - 0.5, -0.5))
    ax.set_yticks(places, [layer.name for layer in found.layers])
    ax.legend(frameon=False, fontsize=7, loc="lower right")


def _copies(found: BenchResult) -> tuple[list[str], list[float]]:
    """Sizes in MiB, and GB/s."""
    held = {name.split("_")[1]: rate for name, rate in found.values.items() if name.startswith("copy_")}
    known = {size: rate for size, rate in held.items() if rate is not None}
    return list(known), list(known.values())
