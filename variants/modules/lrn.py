"""The local response normalisations of 2012, across maps and within each map, several times faster than torch's.

Both divide x by (k + scale * s)^beta, where s sums x^2 over a window that is cut at the border. The backward pass is
written by hand, so that only x is saved for it. Both passes process the batch in pieces that fit the cache. On the CPU
with channels_last memory format, compiled kernels do each pass at once if numba is installed (lrn_kernels.py).

`response_norm` and `spatial_response_norm` are one node each for torch.fx. torch.jit does not support a custom backward
pass: a scripted net computes the same operations in torch and uses autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.jit import is_scripting  # type: ignore[attr-defined]  # torch's documentation has it there
from torch.nn import functional as F

from variants import layers
from variants.modules import lrn_kernels

# The fastest size from 256 KiB to 16 MiB on a CPU with 512 KiB of L2 cache per core: 3 times as fast as one piece for
# 96 maps of 55x55 at batch size 32.
PIECE_BYTES = 2**21
WIDEST_BAND = (
    48  # maps; up to this number, with channels_last, a product with a banded matrix is faster than shifted additions
)
WindowSum: TypeAlias = Callable[[Tensor], Tensor]


class ResponseNorm(nn.Module):
    """Normalises (N, C, ...) across `size` adjacent maps, separately in each of `groups` columns; paper sec. 3.3."""

    def __init__(self, layer: layers.LRN) -> None:
        super().__init__()
        self.layer = layer
        self.size, self.groups, self.beta, self.k = layer.size, layer.groups, layer.beta, layer.k
        self.scale = layer.alpha / layer.size if layer.divide_by_size else layer.alpha

    def forward(self, x: Tensor) -> Tensor:
        return response_norm(x, self.size, self.groups, self.scale, self.beta, self.k)

    def extra_repr(self) -> str:
        at = self.layer
        return f"{at.size}, alpha={at.alpha}, beta={at.beta}, k={at.k}, groups={at.groups}"


class SpatialResponseNorm(nn.Module):
    """Normalises each map of (N, C, H, W) over size x size pixels; `rnorm` of layers-145.cfg, 2012."""

    def __init__(self, layer: layers.SpatialLRN) -> None:
        super().__init__()
        self.layer = layer
        self.size, self.beta, self.k = layer.size, layer.beta, layer.k
        self.scale = layer.alpha / layer.size**2

    def forward(self, x: Tensor) -> Tensor:
        return spatial_response_norm(x, self.size, self.scale, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.layer.size}, alpha={self.layer.alpha}, beta={self.layer.beta}, k={self.layer.k}"


@torch.fx.wrap
def response_norm(x: Tensor, size: int, groups: int, scale: float, beta: float, k: float) -> Tensor:
    """x * (k + scale * s)^-beta for (N, C, ...), s the sum of x^2 over `size` adjacent maps within each group."""
    if not is_scripting():
        if lrn_kernels.usable(x, size, beta):
            in_one_pass: Tensor = _NormaliseInOnePass.apply(x, size, groups, scale, k)
            return in_one_pass
        made: Tensor = _Normalise.apply(x, _across_maps(x, size, groups), scale, beta, k)
        return made
    return _normalise_plainly(x, _by_pads(size, groups, _wide(x).square()), scale, beta, k)


@torch.fx.wrap
def spatial_response_norm(x: Tensor, size: int, scale: float, beta: float, k: float) -> Tensor:
    """x * (k + scale * s)^-beta for (N, C, H, W), s the sum of x^2 over size x size pixels of the same map."""
    if not is_scripting():
        made: Tensor = _Normalise.apply(x, partial(_within_map, size), scale, beta, k)
        return made
    return _normalise_plainly(x, _within_map(size, _wide(x).square()), scale, beta, k)


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


class _NormaliseInOnePass(torch.autograd.Function):
    """The same function with compiled kernels, for inputs that lrn_kernels.usable accepts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, groups: int, scale: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.constants = size, groups, scale, k
        return lrn_kernels.forward(x, size, groups, scale, k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return lrn_kernels.backward(x, grad, *ctx.constants), None, None, None, None


def _normalise_plainly(x: Tensor, summed: Tensor, scale: float, beta: float, k: float) -> Tensor:
    """The forward pass of _Normalise in operations that autograd can follow, for torch.jit."""
    return (_negative_power(summed * scale + k, beta) * x).to(x.dtype)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The batch in pieces of about PIECE_BYTES of the first tensor; in one piece if it isn't on the CPU."""
    first = tensors[0]
    image_bytes = first.element_size() * first.shape[1:].numel()
    images = max(1, PIECE_BYTES // image_bytes) if first.device.type == "cpu" else max(1, len(first))
    return zip(*(torch.split(tensor, images) for tensor in tensors), strict=True)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in [torch.bfloat16, torch.float16] else x  # torch.jit does not support `in` for tuples


def _negative_power(base: Tensor, beta: float) -> Tensor:
    """base^-beta. For the paper's 0.75 two square roots are 5 times as fast as pow, and as exact."""
    if beta == 0.75:
        root = base.rsqrt()
        if is_scripting():  # autograd needs the factor that the next line overwrites
            return root.sqrt() * root
        return root.sqrt().mul_(root)
    return base.pow(-beta)


def _across_maps(x: Tensor, size: int, groups: int) -> WindowSum:
    """The sum over each map of (N, C, ...) and its neighbours in its group, by the faster method for x's layout."""
    if _channels_last(x) and x.shape[1] <= WIDEST_BAND and x.device.type == "cpu":
        at = torch.arange(x.shape[1], device=x.device)
        group = at * groups // x.shape[1]
        band = ((at[:, None] - at).abs() <= size // 2) & (group[:, None] == group)
        return partial(_by_band, band.to(_wide(x).dtype))
    return partial(_by_shifts, size, groups)


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _by_band(band: Tensor, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):  # autocast would compute this float32 product in bfloat16
        return (x.movedim(1, -1) @ band).movedim(-1, 1)


def _by_shifts(size: int, groups: int, x: Tensor) -> Tensor:
    total = x.clone()
    for part, summed in zip(x.chunk(groups, 1), total.chunk(groups, 1), strict=True):
        for shift in range(1, min(size // 2, part.shape[1] - 1) + 1):
            summed[:, shift:] += part[:, :-shift]
            summed[:, :-shift] += part[:, shift:]
    return total


def _by_pads(size: int, groups: int, x: Tensor) -> Tensor:
    """The same sum as _by_shifts, in the same order, without in-place operations."""
    done: list[Tensor] = []
    for part in x.chunk(groups, 1):
        total = part
        for shift in range(1, min(size // 2, part.shape[1] - 1) + 1):
            total = total + F.pad(part[:, :-shift], [0, 0] * (x.dim() - 2) + [shift, 0])
            total = total + F.pad(part[:, shift:], [0, 0] * (x.dim() - 2) + [0, shift])
        done.append(total)
    return torch.cat(done, 1)


def _within_map(size: int, x: Tensor) -> Tensor:
    """The sum over the size x size pixels around each pixel of (N, C, H, W), with zeros beyond the border."""
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, divisor_override=1)
