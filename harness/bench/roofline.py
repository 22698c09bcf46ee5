"""What bounds a training step: the least time for its arithmetic and for its memory traffic, at rates
measured here.

Each layer needs at least the longer of two times: its multiply-accumulates at the rate of a matrix
product or of a convolution, and its bytes at the bandwidth of memory. The update needs its bytes. Their
sum is the least time of a step (Williams, Waterman and Patterson, "Roofline", CACM 2009). A cache that
holds a layer's tensors can be faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch.nn import functional as F

from harness.precision import autocast, float32_precision
from harness.spec import RunSpec
from variants.layers import Conv
from variants.recipes.recipe import Recipe
from variants.spec import LayerRow

GEMM_SIDE = 1536
COPIED_BYTES = 1 << 28  # much more than a cache holds
ON_MAPS = ("conv", "local", "inception")


@dataclass(frozen=True)
class Rates:
    """gemm_flops, conv_flops: FLOP/s of a square matrix product of side 1536, and of the net's largest
    convolution.

    bytes_per_second: of copying a tensor of 256 MiB; reading and writing both count.
    """

    gemm_flops: float
    conv_flops: float
    bytes_per_second: float


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
    batch, recipe = spec.recipe.batch_size, spec.recipe
    arithmetic_s, memory_s = (
        0.0,
        update_passes(recipe) * 4 * spec.net.parameters / rates.bytes_per_second,
    )
    first = next(row for row in spec.net.rows if isinstance(row.layer, Conv))
    for row in spec.net.rows:
        # forward, and backward by weights and by inputs; the image has no gradient
        passes = 2 if row is first else 3
        flops = rates.conv_flops if row.layer.kind in ON_MAPS else rates.gemm_flops
        needed_s = passes * 2 * row.macs * batch / flops
        moved_s = (
            layer_bytes(row, batch, 2 if recipe.precision == "bf16" else 4) / rates.bytes_per_second
        )
        if needed_s >= moved_s:
            arithmetic_s += needed_s
        else:
            memory_s += moved_s
    return Roofline(arithmetic_s, memory_s, step_s)


def layer_bytes(row: LayerRow, batch: int, size: int) -> int:
    """The least bytes that a layer reads and writes in a step, for elements of `size` bytes and float32
    weights.

    Forward reads the input and writes the output. Backward reads the output's gradient and the input,
    and writes the input's gradient; a layer with weights reads the former twice, its weights twice, and
    writes their gradient.
    """
    inputs, outputs = batch * prod(row.input), batch * prod(row.output)
    reads = 2 if row.parameters else 1
    return size * (inputs + outputs + reads * outputs + 2 * inputs) + 3 * 4 * row.parameters


def update_passes(recipe: Recipe) -> int:
    """How often a step reads or writes a tensor of the weights' size; see harness/optim.py."""
    return 5 if recipe.fused_update else 11


def probes(spec: RunSpec, device: torch.device) -> dict[str, Callable[[], int]]:
    """What measures the rates: functions that work for some 0.1 s on a CPU core, and return how
    often they did it.
    """
    weight, images = _largest_convolution(spec, device)
    a, b = (torch.randn(GEMM_SIDE, GEMM_SIDE, device=device) for _ in range(2))
    source = torch.zeros(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    conv = _largest(spec)
    layer = conv.layer
    assert isinstance(layer, Conv)
    return {
        "gemm": _repeated(lambda: torch.mm(a, b), 4, spec.recipe, device),
        "conv": _repeated(
            lambda: F.conv2d(images, weight, None, layer.stride, layer.padding, 1, layer.groups),
            4,
            spec.recipe,
            device,
        ),
        "copy": _repeated(lambda: target.copy_(source), 1, spec.recipe, device),
    }


def rates(spec: RunSpec, per_second: dict[str, float]) -> Rates:
    """From how often per second each of the `probes` did its work."""
    return Rates(
        gemm_flops=per_second["gemm"] * 2 * GEMM_SIDE**3,
        conv_flops=per_second["conv"] * 2 * _largest(spec).macs * spec.recipe.batch_size,
        bytes_per_second=per_second["copy"] * 2 * COPIED_BYTES,
    )


def _largest(spec: RunSpec) -> LayerRow:
    """The ordinary convolution with the most multiply-accumulates."""
    rows = [row for row in spec.net.rows if isinstance(row.layer, Conv) and row.layer.separable == "no"]
    return max(rows, key=lambda row: row.macs)


def _largest_convolution(spec: RunSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Its weight and a batch of inputs, channels_last as in training."""
    row = _largest(spec)
    assert isinstance(row.layer, Conv)
    channels, height, width = row.input
    shape = (row.layer.out, channels // row.layer.groups, row.layer.kernel, row.layer.kernel)
    images = torch.randn(spec.recipe.batch_size, channels, height, width, device=device)
    weight = torch.randn(shape, device=device)
    return tuple(each.contiguous(memory_format=torch.channels_last) for each in (weight, images))  # type: ignore[return-value]


def _repeated(
    work: Callable[[], object], times: int, recipe: Recipe, device: torch.device
) -> Callable[[], int]:
    """`work` that many times in the recipe's precision, to its end."""

    def repeated() -> int:
        with torch.no_grad(), float32_precision(recipe.precision), autocast(recipe.precision, device):
            for _ in range(times):
                work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return times

    return repeated
