"""CPU kernels for response normalisation across maps, compiled by numba; optional.

torch needs about ten passes over a tensor that doesn't fit the cache; these kernels need one. With
channels_last, the maps of a pixel are adjacent in memory, so a window over maps is a sum of shifted
neighbours. Masks leave out neighbours that belong to another pixel or column. Fused multiply-add is not
allowed, so the bits are the same on every processor and for every number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
BLOCK = 256  # about how many floats are processed at a time; they stay in the L1 cache
LEAST_TO_SPLIT = 1 << 18  # floats; a smaller tensor is finished before a second thread has started


@cache
def kernels(size: int) -> tuple[Callable[..., None], Callable[..., None]] | None:
    """The compiled (forward, backward) for a window, or None where numba is not installed; kept in
    numba's cache.
    """
    try:
        numba: Any = import_module("numba")  # slow to import, and optional
    except ImportError:
        return None
    types = numba.types
    read, write = types.Array(types.float32, 1, "C", readonly=True), types.float32[::1]
    masks, number = types.Array(types.float32, 2, "C", readonly=True), types.float32
    signatures = (
        types.void(read, masks, number, number, write),
        types.void(read, read, masks, number, number, number, write),
    )

    def compiled(function: Callable[..., None], signature: Any) -> Callable[..., None]:
        options = {"nogil": True, "error_model": "numpy"}
        try:
            made: Callable[..., None] = numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # numba found no writable folder for its cache
            made = numba.njit(signature, **options)(function)
        return made

    forward, backward = _written(size // 2)
    return compiled(forward, signatures[0]), compiled(backward, signatures[1])


def usable(x: Tensor, size: int, beta: float) -> bool:
    """Whether the kernels support this input: float32 on the CPU, channels_last, the paper's
    exponent 0.75.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and beta == 0.75
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
        and size <= x.shape[1]
        and kernels(size) is not None
    )


def forward(x: Tensor, size: int, groups: int, scale: float, k: float) -> Tensor:
    """x * (k + scale * s)^-0.75, s the sum of x^2 over `size` adjacent maps within each of `groups`."""
    made = torch.empty_like(x)
    masks, both = _masks(x.shape[1], size, groups), kernels(size)
    assert both is not None
    _in_parts(masks, lambda x, out: both[0](x, masks, np.float32(scale), np.float32(k), out), x, made)
    return made


def backward(x: Tensor, grad: Tensor, size: int, groups: int, scale: float, k: float) -> Tensor:
    """The gradient with respect to x, given the gradient `grad` with respect to the output of
    `forward`.
    """
    made = torch.empty_like(x)
    masks, both = _masks(x.shape[1], size, groups), kernels(size)
    assert both is not None
    numbers = np.float32(scale), np.float32(k), np.float32(-1.5 * scale)
    grad = grad.contiguous(memory_format=torch.channels_last)
    _in_parts(masks, lambda x, grad, out: both[1](x, grad, masks, *numbers, out), x, grad, made)
    return made


@cache
def _masks(maps: int, size: int, groups: int) -> Floats:
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


def _in_parts(masks: Floats, work: Callable[..., None], *tensors: Tensor) -> None:
    """Run `work` on the tensors' memory in as many threads as torch uses.

    Each part starts at a whole pixel.
    """
    flat = [tensor.detach().permute(0, 2, 3, 1).reshape(-1).numpy() for tensor in tensors]
    threads, length, block = torch.get_num_threads(), len(flat[0]), masks.shape[1]
    if threads == 1 or length < LEAST_TO_SPLIT:
        work(*flat)
        return
    step = -(-length // (threads * block)) * block
    starts = range(0, length, step)
    list(_pool(threads).map(lambda start: work(*(part[start : start + step] for part in flat)), starts))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="lrn")


def _written(half: int) -> tuple[Callable[..., None], Callable[..., None]]:
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
