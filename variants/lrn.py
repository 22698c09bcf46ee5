"""Response normalisations of 2012, exact and several times faster than torch's: across maps, and within each map.

Both divide x by (k + scale * s)^beta, where s sums x^2 over a window that ends at the border. The backward pass is
written out, so that only x is kept for it, and both passes go through the batch in pieces that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from variants import layers

# Of 256 KiB to 16 MiB this was fastest on a CPU with 512 KiB of L2 a core: 3x one piece at 96 maps of 55x55, batch 32.
PIECE_BYTES = 2**21
WIDEST_BAND = 48  # maps; with channels last, a product with a banded matrix beats shifted adds up to here
WindowSum: TypeAlias = Callable[[Tensor], Tensor]


class ResponseNorm(nn.Module):
    """Normalises (N, C, ...) across `size` adjacent maps, each of `groups` column halves on its own; paper sec. 3.3."""

    def __init__(self, layer: layers.LRN) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        at = self.layer
        scale = at.alpha / at.size if at.divide_by_size else at.alpha
        made: Tensor = _Normalise.apply(x, _across_maps(x, at.size, at.groups), scale, at.beta, at.k)
        return made

    def extra_repr(self) -> str:
        at = self.layer
        return f"{at.size}, alpha={at.alpha}, beta={at.beta}, k={at.k}, groups={at.groups}"


class SpatialResponseNorm(nn.Module):
    """Normalises each map of (N, C, H, W) over size x size pixels; `rnorm` of layers-145.cfg, 2012."""

    def __init__(self, layer: layers.SpatialLRN) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        at = self.layer
        made: Tensor = _Normalise.apply(x, partial(_within_map, at.size), at.alpha / at.size**2, at.beta, at.k)
        return made

    def extra_repr(self) -> str:
        return f"{self.layer.size}, alpha={self.layer.alpha}, beta={self.layer.beta}, k={self.layer.k}"


class _Normalise(torch.autograd.Function):
    """y = x * base^-beta with base = k + scale * window_sum(x^2); half precision computes in float32.

    With f = base^-beta the gradient is g * f - 2 * scale * beta * x * window_sum(g * f * x / base),
    because the window is symmetric.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, window_sum: WindowSum, scale: float, beta: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.constants = window_sum, scale, beta, k
        made = torch.empty_like(x)
        for part, out in _pieces(x, made):
            base = window_sum(_wide(part).square()).mul_(scale).add_(k)
            torch.mul(_negative_power(base, beta), part, out=out)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        window_sum, scale, beta, k = ctx.constants
        made = torch.empty_like(x)
        for piece, above, out in _pieces(x, grad, made):
            part = _wide(piece)
            base = window_sum(part.square()).mul_(scale).add_(k)
            direct = _negative_power(base, beta).mul_(above)
            shared = window_sum(torch.div(part, base, out=base).mul_(direct))
            out.copy_(direct.addcmul_(part, shared, value=-2.0 * scale * beta))
        return made, None, None, None, None


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The batch in pieces of about PIECE_BYTES of the first tensor; all at once where it isn't on the CPU."""
    first = tensors[0]
    image_bytes = first.element_size() * first.shape[1:].numel()
    images = max(1, PIECE_BYTES // image_bytes) if first.device.type == "cpu" else max(1, len(first))
    return zip(*(torch.split(tensor, images) for tensor in tensors), strict=True)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _negative_power(base: Tensor, beta: float) -> Tensor:
    """base^-beta; the paper's 0.75 by two roots, 5x cheaper than pow and as exact."""
    if beta == 0.75:
        root = base.rsqrt()
        return root.sqrt().mul_(root)
    return base.pow(-beta)


def _across_maps(x: Tensor, size: int, groups: int) -> WindowSum:
    """A sum over each map of (N, C, ...) and its neighbours within its group, the faster way for the layout of x."""
    if _channels_last(x) and x.shape[1] <= WIDEST_BAND and x.device.type == "cpu":
        at = torch.arange(x.shape[1], device=x.device)
        group = at * groups // x.shape[1]
        band = ((at[:, None] - at).abs() <= size // 2) & (group[:, None] == group)
        return partial(_by_band, band.to(_wide(x).dtype))
    return partial(_by_shifts, size, groups)


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _by_band(band: Tensor, x: Tensor) -> Tensor:
    return (x.movedim(1, -1) @ band).movedim(-1, 1)


def _by_shifts(size: int, groups: int, x: Tensor) -> Tensor:
    total = x.clone()
    for part, summed in zip(x.chunk(groups, 1), total.chunk(groups, 1), strict=True):
        for shift in range(1, min(size // 2, part.shape[1] - 1) + 1):
            summed[:, shift:] += part[:, :-shift]
            summed[:, :-shift] += part[:, shift:]
    return total


def _within_map(size: int, x: Tensor) -> Tensor:
    """Sum over the size x size pixels around each pixel of (N, C, H, W), zeros beyond the border."""
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, divisor_override=1)
