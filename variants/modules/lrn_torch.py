"""Response normalisation by torch's operations, forward and backward, for every device, layout and data
type.

Both passes process the batch in pieces that fit the cache. `plain` has the same function in operations
that autograd, torch.jit and torch.export can follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

# The fastest size from 256 KiB to 16 MiB on a CPU with 512 KiB of L2 cache per core: 3 times as fast as
# one piece for 96 maps of 55x55 at batch size 32.
PIECE_BYTES = 2**21
WIDEST_BAND = (
    # maps; up to this number, with channels_last, a product with a banded matrix is faster than shifted
    # additions
    48
)
WindowSum: TypeAlias = Callable[[Tensor], Tensor]


def forward(x: Tensor, window_sum: WindowSum, scale: float, beta: float, k: float) -> Tensor:
    """x * base^-beta with base = k + scale * window_sum(x^2); half precision computes in float32."""
    made = torch.empty_like(x)
    for part, out in _pieces(x, made):
        base = window_sum(_wide(part).square()).mul_(scale).add_(k)
        torch.mul(_negative_power(base, beta), part, out=out)
    return made


def backward(
    x: Tensor, grad: Tensor, window_sum: WindowSum, scale: float, beta: float, k: float
) -> Tensor:
    """The gradient with respect to x, given the gradient `grad` with respect to the output of
    `forward`.

    With f = base^-beta it is g * f - 2 * scale * beta * x * window_sum(g * f * x / base), because the
    window is symmetric.
    """
    made = torch.empty_like(x)
    for piece, above, out in _pieces(x, grad, made):
        part = _wide(piece)
        base = window_sum(part.square()).mul_(scale).add_(k)
        direct = _negative_power(base, beta).mul_(above)
        shared = window_sum(torch.div(part, base, out=base).mul_(direct))
        out.copy_(direct.addcmul_(part, shared, value=-2.0 * scale * beta))
    return made


def across_maps(x: Tensor, size: int, groups: int) -> WindowSum:
    """The sum over each map of (N, C, ...) and its neighbours in its group, by the faster method for
    x's layout.
    """
    if _channels_last(x) and x.shape[1] <= WIDEST_BAND and x.device.type == "cpu":
        at = torch.arange(x.shape[1], device=x.device)
        group = at * groups // x.shape[1]
        band = ((at[:, None] - at).abs() <= size // 2) & (group[:, None] == group)
        return partial(_by_band, band.to(_wide(x).dtype))
    return partial(_by_shifts, size, groups)


def within_map(size: int, x: Tensor) -> Tensor:
    """The sum over the size x size pixels around each pixel of (N, C, H, W), with zeros beyond the
    border.
    """
    return F.avg_pool2d(x, size, stride=1, padding=size // 2, divisor_override=1)


def plain_across_maps(x: Tensor, size: int, groups: int, scale: float, beta: float, k: float) -> Tensor:
    """`forward` across maps, without in-place operations and pieces."""
    return _plainly(x, _by_pads(size, groups, _wide(x).square()), scale, beta, k)


def plain_within_map(x: Tensor, size: int, scale: float, beta: float, k: float) -> Tensor:
    """`forward` within each map, without in-place operations and pieces."""
    return _plainly(x, within_map(size, _wide(x).square()), scale, beta, k)


def _plainly(x: Tensor, summed: Tensor, scale: float, beta: float, k: float) -> Tensor:
    base = summed * scale + k
    if beta == 0.75:  # as _negative_power, without overwriting the factor that autograd needs
        root = base.rsqrt()
        return (root.sqrt() * root * x).to(x.dtype)
    return (base.pow(-beta) * x).to(x.dtype)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The batch in pieces of about PIECE_BYTES of the first tensor; in one piece if it isn't on the
    CPU.
    """
    first = tensors[0]
    image_bytes = first.element_size() * first.shape[1:].numel()
    images = max(1, PIECE_BYTES // image_bytes) if first.device.type == "cpu" else max(1, len(first))
    return zip(*(torch.split(tensor, images) for tensor in tensors), strict=True)


def _wide(x: Tensor) -> Tensor:
    # torch.jit does not support `in` for tuples
    return x.float() if x.dtype in [torch.bfloat16, torch.float16] else x


def _negative_power(base: Tensor, beta: float) -> Tensor:
    """base^-beta. For the paper's 0.75 two square roots are 5 times as fast as pow, and as exact."""
    if beta == 0.75:
        root = base.rsqrt()
        return root.sqrt().mul_(root)
    return base.pow(-beta)


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _by_band(band: Tensor, x: Tensor) -> Tensor:
    # autocast would compute this float32 product in bfloat16
    with torch.autocast("cpu", enabled=False):
        return (x.movedim(1, -1) @ band).movedim(-1, 1)


def _by_shifts(size: int, groups: int, x: Tensor) -> Tensor:
    total = x.clone()
    for part, summed in zip(x.chunk(groups, 1), total.chunk(groups, 1), strict=True):
        for shift in range(1, min(size // 2, part.shape[1] - 1) + 1):
            summed[:, shift:].add_(part[:, :-shift])  # `+=` would copy the slice onto itself afterwards
            summed[:, :-shift].add_(part[:, shift:])
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
