"""CPU kernels for response normalisation across maps, compiled by numba; optional.

torch needs about ten passes over a tensor that doesn't fit the cache; these kernels need one. With
channels_last, the maps of a pixel are adjacent in memory, so a window over maps is a sum of shifted
neighbours. Masks leave out neighbours that belong to another pixel or column.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from variants.modules.numba_kernels import Floats, Kernel, compiled, run, takes

BLOCK = 256  # about how many floats are processed at a time; they stay in the L1 cache


@cache
def kernels(size: int) -> tuple[Kernel, Kernel] | None:
    """The compiled (forward, backward) for a window, or None where numba is not installed."""
    forward, backward = _written(size // 2)
    one = compiled(forward, "read", "table", "float", "float", "write")
    other = compiled(backward, "read", "read", "table", "float", "float", "float", "write")
    return None if one is None or other is None else (one, other)


def usable(x: Tensor, size: int, beta: float) -> bool:
    """Whether the kernels support this input: channels_last on the CPU, the paper's exponent 0.75."""
    return takes(x) and beta == 0.75 and size <= x.shape[1] and kernels(size) is not None


def forward(x: Tensor, size: int, groups: int, scale: float, k: float) -> Tensor:
    """x * (k + scale * s)^-0.75, s the sum of x^2 over `size` adjacent maps within each of `groups`."""
    made = torch.empty_like(x)
    masks, both = window_masks(x.shape[1], size, groups), kernels(size)
    assert both is not None
    numbers = np.float32(scale), np.float32(k)
    run(lambda x, out: both[0](x, masks, *numbers, out), masks.shape[1], x, made)
    return made


def backward(x: Tensor, grad: Tensor, size: int, groups: int, scale: float, k: float) -> Tensor:
    """The gradient with respect to x, given the gradient `grad` with respect to the output of
    `forward`.
    """
    made = torch.empty_like(x)
    masks, both = window_masks(x.shape[1], size, groups), kernels(size)
    assert both is not None
    numbers = np.float32(scale), np.float32(k), np.float32(-1.5 * scale)
    grad = grad.contiguous(memory_format=torch.channels_last)
    run(lambda x, grad, out: both[1](x, grad, masks, *numbers, out), masks.shape[1], x, grad, made)
    return made


@cache
def window_masks(maps: int, size: int, groups: int) -> Floats:
    """(size - 1, B): 1 where the map at distance -size//2 .. size//2 (not 0) belongs to the same
    pixel and group.
    """
    at = np.arange(maps)
    reach = [distance for distance in range(-(size // 2), size // 2 + 1) if distance]
    pixels = max(1, BLOCK // maps)
    rows = []
    for distance in reach:
        other = at + distance
        same = (
            (other >= 0)
            & (other < maps)
            & (other.clip(0, maps - 1) * groups // maps == at * groups // maps)
        )
        rows.append(np.tile(same, pixels))
    # no rows for a window of one map
    return np.array(rows, dtype=np.float32).reshape(len(reach), pixels * maps)


def _written(half: int) -> tuple[Kernel, Kernel]:
    """The two loops for a window of 2 * half + 1 maps; numba unrolls the window, since `half` is a
    compile-time constant.
    """

    def forward(x: Floats, masks: Floats, scale: np.float32, k: np.float32, out: Floats) -> None:
        block = masks.shape[1]
        squares = np.zeros(block + 2 * half, np.float32)
        for start in range(0, len(x), block):
            part, made = x[start : start + block], out[start : start + block]
            for i in range(len(part)):
                squares[i + half] = part[i] * part[i]
            for i in range(len(part)):
                total = squares[i + half]
                for j in range(half):
                    total += masks[j, i] * squares[i + j]
                    total += masks[half + j, i] * squares[i + half + 1 + j]
                root = np.float32(1.0) / np.sqrt(k + scale * total)
                made[i] = part[i] * (root * np.sqrt(root))

    def backward(
        x: Floats,
        grad: Floats,
        masks: Floats,
        scale: np.float32,
        k: np.float32,
        factor: np.float32,
        out: Floats,
    ) -> None:
        """out = g * f + factor * x * window_sum(g * f * x / base), f = base^-0.75, factor = -2 *
        scale * 0.75.
        """
        block = masks.shape[1]
        squares, shared = np.zeros(block + 2 * half, np.float32), np.zeros(block + 2 * half, np.float32)
        for start in range(0, len(x), block):
            part, above, made = (
                x[start : start + block],
                grad[start : start + block],
                out[start : start + block],
            )
            for i in range(len(part)):
                squares[i + half] = part[i] * part[i]
            for i in range(len(part)):
                total = squares[i + half]
                for j in range(half):
                    total += masks[j, i] * squares[i + j]
                    total += masks[half + j, i] * squares[i + half + 1 + j]
                base = k + scale * total
                root = np.float32(1.0) / np.sqrt(base)
                direct = root * np.sqrt(root) * above[i]
                made[i] = direct
                shared[i + half] = direct * part[i] * (root * root)
            for i in range(len(part)):
                total = shared[i + half]
                for j in range(half):
                    total += masks[j, i] * shared[i + j]
                    total += masks[half + j, i] * shared[i + half + 1 + j]
                made[i] += factor * part[i] * total

    return forward, backward
