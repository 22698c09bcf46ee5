"""What this machine reaches at most: the rates of a matrix product, of convolutions and of copying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from harness.bench.repeating import finish
from harness.bench.timing import Windows
from harness.precision import autocast, float32_precision
from harness.spec import RunSpec
from variants.layers import Conv
from variants.recipes.recipe import Recipe
from variants.spec import LayerRow

GEMM_SIDE = 1536
COPIED_BYTES = 1 << 28  # much more than a cache holds
# a convolution that suits every library: 128 channels to 128, 3x3, on maps of 28x28, batch 32
CONV_CHANNELS, CONV_SIDE, CONV_BATCH = 128, 28, 32
CONV_MACS = CONV_BATCH * CONV_SIDE**2 * 9 * CONV_CHANNELS**2
# source and target together; from what a core's cache holds to what no cache holds
COPY_SETS = tuple(1 << power for power in (18, 20, 22, 24, 26, 29))
COPY_WINDOW_BYTES = 1 << 29  # a window copies small tensors so often that it reads and writes as much


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
class Ceilings:
    """The highest rates of any window. conv_flops: of the net's largest convolution or of one that suits
    every library, whichever is faster.

    copies: bytes per second of copying, by the bytes of source and target together.
    """

    gemm_flops: float
    conv_flops: float
    copies: dict[int, float]

    def bytes_per_second(self, set_bytes: int) -> float:
        """For what touches so many bytes: the faster of the copies of the next smaller and the next
        larger set.
        """
        smaller = max((each for each in self.copies if each <= set_bytes), default=min(self.copies))
        larger = min((each for each in self.copies if each >= set_bytes), default=max(self.copies))
        return max(self.copies[smaller], self.copies[larger])


def rate_probes(spec: RunSpec, device: torch.device) -> dict[str, Callable[[], int]]:
    """What measures `Rates`: functions that work for some 0.1 s on a CPU core, and return how often they
    did it.
    """
    a, b = (torch.randn(GEMM_SIDE, GEMM_SIDE, device=device) for _ in range(2))
    return {
        "gemm": _repeated(lambda: torch.mm(a, b), 4, spec.recipe, device),
        "conv": _largest_convolution(spec, device),
        "copy": _copying(2 * COPIED_BYTES, spec.recipe, device),
    }


def ceiling_probes(spec: RunSpec, device: torch.device) -> dict[str, Callable[[], int]]:
    """What measures `Ceilings`."""
    shape = (CONV_BATCH, CONV_CHANNELS, CONV_SIDE, CONV_SIDE)
    images = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(CONV_CHANNELS, CONV_CHANNELS, 3, 3, device=device)
    weight = weight.contiguous(memory_format=torch.channels_last)
    alike = _repeated(lambda: F.conv2d(images, weight, None, 1, 1), 8, spec.recipe, device)
    rates = rate_probes(spec, device)
    copies = {f"copy {size}": _copying(size, spec.recipe, device) for size in COPY_SETS}
    return {"gemm": rates["gemm"], "conv": rates["conv"], "ideal conv": alike, **copies}


def rates(spec: RunSpec, per_second: dict[str, float]) -> Rates:
    """From how often per second each of the `rate_probes` did its work."""
    return Rates(
        gemm_flops=per_second["gemm"] * 2 * GEMM_SIDE**3,
        conv_flops=per_second["conv"] * 2 * largest_convolution(spec).macs * spec.recipe.batch_size,
        bytes_per_second=per_second["copy"] * 2 * COPIED_BYTES,
    )


def ceilings(spec: RunSpec, measured: Windows) -> Ceilings:
    """From the windows of the `ceiling_probes`."""
    highest = {name: max(window.speed for window in held) for name, held in measured.of.items()}
    largest = largest_convolution(spec).macs * spec.recipe.batch_size
    return Ceilings(
        gemm_flops=highest["gemm"] * 2 * GEMM_SIDE**3,
        conv_flops=2 * max(highest["conv"] * largest, highest["ideal conv"] * CONV_MACS),
        copies={size: highest[f"copy {size}"] * size for size in COPY_SETS},
    )


def largest_convolution(spec: RunSpec) -> LayerRow:
    """The ordinary convolution with the most multiply-accumulates."""
    rows = [row for row in spec.net.rows if isinstance(row.layer, Conv) and row.layer.separable == "no"]
    return max(rows, key=lambda row: row.macs)


def _largest_convolution(spec: RunSpec, device: torch.device) -> Callable[[], int]:
    """It over a batch of inputs, channels_last as in training."""
    row = largest_convolution(spec)
    layer = row.layer
    assert isinstance(layer, Conv)
    channels, height, width = row.input
    shape = (layer.out, channels // layer.groups, layer.kernel, layer.kernel)
    made = torch.randn(spec.recipe.batch_size, channels, height, width, device=device)
    images = made.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)

    def convolve() -> torch.Tensor:
        return F.conv2d(images, weight, None, layer.stride, layer.padding, 1, layer.groups)

    return _repeated(convolve, 4, spec.recipe, device)


def _copying(set_bytes: int, recipe: Recipe, device: torch.device) -> Callable[[], int]:
    source = torch.zeros(set_bytes // 8, device=device)
    target = torch.empty_like(source)
    times = max(1, COPY_WINDOW_BYTES // set_bytes)
    return _repeated(lambda: target.copy_(source), times, recipe, device)


def _repeated(
    work: Callable[[], object], times: int, recipe: Recipe, device: torch.device
) -> Callable[[], int]:
    """`work` that many times in the recipe's precision, to its end."""

    def repeated() -> int:
        with torch.no_grad(), float32_precision(recipe.precision), autocast(recipe.precision, device):
            for _ in range(times):
                work()
        finish(device)
        return times

    return repeated
