"""CPU kernels for response normalisation within each map, compiled by numba; optional.

torch sums each window anew and needs about ten passes. These kernels take one image at a time, which
fits the cache: they sum each row's windows, and then add the sums of neighbouring rows. With
channels_last, a neighbour at distance d along the row is d * channels further in memory.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from variants.modules.numba_kernels import Floats, Kernel, compiled, run, takes


@cache
def kernels(size: int) -> tuple[Kernel, Kernel] | None:
    """The compiled (forward, backward) for a window, or None where numba is not installed."""
    forward, backward = _written(size // 2)
    one = compiled(forward, "read", "int", "int", "int", "float", "float", "write")
    other = compiled(backward, "read", "read", "int", "int", "int", "float", "float", "float", "write")
    return None if one is None or other is None else (one, other)


def usable(x: Tensor, size: int, beta: float) -> bool:
    """Whether the kernels support this input: channels_last on the CPU, the exponent 0.75."""
    return takes(x) and beta == 0.75 and kernels(size) is not None


def forward(x: Tensor, size: int, scale: float, k: float) -> Tensor:
    """x * (k + scale * s)^-0.75, s the sum of x^2 over size x size pixels of the same map."""
    made, both = torch.empty_like(x), kernels(size)
    assert both is not None
    shape, numbers = _shape(x), (np.float32(scale), np.float32(k))
    run(lambda x, out: both[0](x, *shape, *numbers, out), shape[2], x, made)
    return made


def backward(x: Tensor, grad: Tensor, size: int, scale: float, k: float) -> Tensor:
    """The gradient with respect to x, given the gradient `grad` with respect to the output of
    `forward`.
    """
    made, both = torch.empty_like(x), kernels(size)
    assert both is not None
    shape, numbers = _shape(x), (np.float32(scale), np.float32(k), np.float32(-1.5 * scale))
    grad = grad.contiguous(memory_format=torch.channels_last)
    run(lambda x, grad, out: both[1](x, grad, *shape, *numbers, out), shape[2], x, grad, made)
    return made


def _shape(x: Tensor) -> tuple[int, int, int]:
    """Floats of a pixel (the channels), of a row of pixels, of an image."""
    _, channels, height, width = x.shape
    return channels, channels * width, channels * width * height


def _written(half: int) -> tuple[Kernel, Kernel]:
    """The two loops for a window of 2 * half + 1 pixels a side, a compile-time constant.

    Both first sum the windows of each row, in `line`, which has zeros at both ends, to `sums`.
    """

    def forward(
        x: Floats, pixel: int, row: int, image: int, scale: np.float32, k: np.float32, out: Floats
    ) -> None:
        margin = half * pixel
        line, total = np.zeros(row + 2 * margin, np.float32), np.zeros(row, np.float32)
        sums = np.zeros(image, np.float32)
        for start in range(0, len(x), image):
            for at in range(0, image, row):
                part, summed = x[start + at : start + at + row], sums[at : at + row]
                for i in range(row):
                    line[i + margin] = part[i] * part[i]
                for i in range(row):
                    summed[i] = line[i]
                for j in range(1, 2 * half + 1):
                    shifted = line[j * pixel : j * pixel + row]
                    for i in range(row):
                        summed[i] += shifted[i]
            for at in range(0, image, row):
                total[:] = 0
                for near in range(max(0, at - half * row), min(image, at + (half + 1) * row), row):
                    summed = sums[near : near + row]
                    for i in range(row):
                        total[i] += summed[i]
                part, made = x[start + at : start + at + row], out[start + at : start + at + row]
                for i in range(row):
                    root = np.float32(1.0) / np.sqrt(k + scale * total[i])
                    made[i] = part[i] * (root * np.sqrt(root))

    def backward(
        x: Floats,
        grad: Floats,
        pixel: int,
        row: int,
        image: int,
        scale: np.float32,
        k: np.float32,
        factor: np.float32,
        out: Floats,
    ) -> None:
        """out = g * f + factor * x * window_sum(g * f * x / base), f = base^-0.75, factor = -2 *
        scale * 0.75.
        """
        margin = half * pixel
        line, total = np.zeros(row + 2 * margin, np.float32), np.zeros(row, np.float32)
        sums, shared = np.zeros(image, np.float32), np.zeros(image, np.float32)
        for start in range(0, len(x), image):
            for turn in range(2):  # the sum of squares, then that of the gradients they share
                for at in range(0, image, row):
                    part, summed = x[start + at : start + at + row], sums[at : at + row]
                    share = shared[at : at + row]
                    for i in range(row):
                        line[i + margin] = part[i] * part[i] if turn == 0 else share[i]
                    for i in range(row):
                        summed[i] = line[i]
                    for j in range(1, 2 * half + 1):
                        shifted = line[j * pixel : j * pixel + row]
                        for i in range(row):
                            summed[i] += shifted[i]
                for at in range(0, image, row):
                    total[:] = 0
                    for near in range(max(0, at - half * row), min(image, at + (half + 1) * row), row):
                        summed = sums[near : near + row]
                        for i in range(row):
                            total[i] += summed[i]
                    part, above = x[start + at : start + at + row], grad[start + at : start + at + row]
                    share, made = shared[at : at + row], out[start + at : start + at + row]
                    if turn == 0:
                        for i in range(row):
                            root = np.float32(1.0) / np.sqrt(k + scale * total[i])
                            direct = root * np.sqrt(root) * above[i]
                            made[i] = direct
                            share[i] = direct * part[i] * (root * root)
                    else:
                        for i in range(row):
                            made[i] += factor * part[i] * total[i]

    return forward, backward
