"""What bounds a training step: the least time for its arithmetic and for its memory traffic, at rates
measured here.

Each layer needs at least the longer of two times: its multiply-accumulates at the rate of a matrix
product or of a convolution, and its bytes at the bandwidth of memory. The update needs its bytes. Their
sum is the least time of a step (Williams, Waterman and Patterson, "Roofline", CACM 2009). A cache that
holds a layer's tensors can be faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from harness.bench.ceilings import Rates
from harness.spec import RunSpec
from variants.recipes.recipe import Recipe
from variants.spec import LayerRow

ON_MAPS = ("conv", "local", "inception")
WITHOUT_INPUT = ("pool", "adaptive_pool", "dropout")  # their backward pass reads a mask or indices


@dataclass(frozen=True)
class LayerWork:
    """macs: multiply-accumulates of forward and backward over a batch. bytes: see `layer_bytes`.

    set_bytes: input, output and weights together.
    """

    row: LayerRow
    macs: int
    bytes: int
    set_bytes: int

    @property
    def on_maps(self) -> bool:
        """Whether it is a convolution or the like, rather than a matrix product."""
        return self.row.layer.kind in ON_MAPS


@dataclass(frozen=True)
class Roofline:
    """Seconds of a step that are bound by arithmetic and by memory traffic, at least; and those that
    it takes.
    """

    arithmetic_s: float
    memory_s: float
    step_s: float

    @property
    def bound_by(self) -> Literal["arithmetic", "memory"]:
        """The larger part of the least time."""
        return "arithmetic" if self.arithmetic_s >= self.memory_s else "memory"

    @property
    def reached(self) -> float:
        """The least time as a fraction of the time that the step takes."""
        return (self.arithmetic_s + self.memory_s) / self.step_s


def roofline(spec: RunSpec, rates: Rates, step_s: float) -> Roofline:
    """Each layer's longer time counts as bound by arithmetic or by memory; the update by memory."""
    arithmetic_s = 0.0
    memory_s = update_passes(spec.recipe) * 4 * spec.net.parameters / rates.bytes_per_second
    for work in layer_work(spec):
        flops = rates.conv_flops if work.on_maps else rates.gemm_flops
        needed_s, moved_s = 2 * work.macs / flops, work.bytes / rates.bytes_per_second
        if needed_s >= moved_s:
            arithmetic_s += needed_s
        else:
            memory_s += moved_s
    return Roofline(arithmetic_s, memory_s, step_s)


def layer_work(spec: RunSpec) -> list[LayerWork]:
    """What each layer has to do in a step: forward, and backward by weights and by inputs.

    The first layer has no gradient by its input, the image.
    """
    batch, size = spec.recipe.batch_size, 2 if spec.recipe.precision == "bf16" else 4
    return [
        LayerWork(
            row,
            macs=(2 if place == 0 else 3) * row.macs * batch,
            bytes=layer_bytes(row, batch, size, first=place == 0),
            set_bytes=size * batch * (prod(row.input) + prod(row.output)) + 4 * row.parameters,
        )
        for place, row in enumerate(spec.net.rows)
    ]


def layer_bytes(row: LayerRow, batch: int, size: int, *, first: bool = False) -> int:
    """The least bytes that a layer reads and writes in a step, for elements of `size` bytes and float32
    weights.

    Forward reads the input and the weights, and writes the output. Backward reads the output's gradient
    and writes the input's gradient, unless it is the `first` layer; all layers but dropout and pooling
    read their input (or as large an output) again. Those with weights read the output's gradient a
    second time for the gradient of the weights, which they write; and they read the weights again.
    Masks and indices are not counted.
    """
    inputs, outputs = batch * prod(row.input), batch * prod(row.output)
    moved = inputs + outputs  # forward
    moved += 0 if first else outputs + inputs
    moved += 0 if row.layer.kind in WITHOUT_INPUT else inputs
    moved += outputs if row.parameters else 0
    return size * moved + (2 if first else 3) * 4 * row.parameters


def update_passes(recipe: Recipe) -> int:
    """How often a step reads or writes a tensor of the weights' size; see harness/optim.py."""
    return 5 if recipe.fused_update else 11
