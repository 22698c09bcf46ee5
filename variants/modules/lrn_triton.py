"""GPU kernels for response normalisation across maps, compiled by Triton, which comes with torch's
wheels for CUDA.

torch needs 16 kernels forward and 29 backward for it (a window of 5 in two columns), and reads or
writes 86 times as many bytes as x has. Here it is one kernel each way, and 5 times: forward reads x and
writes y, backward reads x and the gradient and writes the gradient of x. A tile is some pixels times
some maps; neighbouring maps are loaded again, from the cache. Half precision is read and written as it
is and computed in float32. There are no atomic operations, so the bits don't depend on the order of the
tiles.

Import this module only where Triton is installed. The tests run its kernels by Triton's interpreter on
the CPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 1024  # elements of a program, 8 for each of its 128 threads
MOST_MAPS = 64  # of a tile
# maps in a window: its loops are unrolled, and backward has the square of this number of steps
WIDEST = 17
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def usable(x: Tensor, size: int, groups: int) -> bool:
    """Whether the kernels support this input: up to 32 bits per element, contiguous or
    channels_last, (N, C, ...).
    """
    return (
        x.dtype in TYPES
        and x.dim() >= 2
        and 0 < x.numel() < 2**31  # offsets are int32
        and (x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)))
        and 2 * _reach(x, size, groups) + 1 <= WIDEST
    )


def forward(x: Tensor, size: int, groups: int, scale: float, beta: float, k: float) -> Tensor:
    """x * (k + scale * s)^-beta, s the sum of x^2 over `size` adjacent maps within each of `groups`."""
    made = torch.empty_like(x)
    _launch(_forward, (x, made), size, groups, scale, beta, k)
    return made


def backward(
    x: Tensor, grad: Tensor, size: int, groups: int, scale: float, beta: float, k: float
) -> Tensor:
    """The gradient with respect to x, given the gradient `grad` with respect to the output of
    `forward`.
    """
    made = torch.empty_like(x)
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
    _launch(_backward, (x, grad.contiguous(memory_format=layout), made), size, groups, scale, beta, k)
    return made


def _reach(x: Tensor, size: int, groups: int) -> int:
    """How many maps a window extends to each side; a group has no more than its own."""
    return min(size // 2, x.shape[1] // groups - 1)


def _launch(
    kernel: triton.JITFunction,
    tensors: tuple[Tensor, ...],
    size: int,
    groups: int,
    scale: float,
    beta: float,
    k: float,
) -> None:
    x = tensors[0]
    maps, positions = x.shape[1], x.shape[2:].numel()
    width = maps // groups
    tile_maps = min(MOST_MAPS, triton.next_power_of_2(width))
    tile_pixels, tiles = TILE // tile_maps, triton.cdiv(width, tile_maps)
    # of map, position
    pixels, strides = len(x) * positions, (positions, 1) if x.is_contiguous() else (1, maps)
    with torch.cuda.device_of(x):  # Triton launches on the current device
        kernel[(triton.cdiv(pixels, tile_pixels), groups * tiles)](
            *tensors, pixels, positions, maps, width, tiles, *strides, scale, beta, k,
            reach=_reach(x, size, groups), tile_pixels=tile_pixels, tile_maps=tile_maps, roots=beta == 0.75,
        )  # fmt: skip


@triton.jit
def _forward(
    x_at, y_at, pixels, positions, maps, width, tiles, map_stride, position_stride, scale, beta, k,
    reach: tl.constexpr, tile_pixels: tl.constexpr, tile_maps: tl.constexpr, roots: tl.constexpr,
):  # fmt: skip
    """One tile of y. The arguments from `pixels` to `position_stride` are those of _tile."""
    at, number, real = _tile(
        pixels, positions, maps, width, tiles, map_stride, position_stride, tile_pixels, tile_maps
    )
    base = _base(x_at + at, number, real, width, map_stride, scale, k, 0, reach)
    y = _load(x_at + at, number, real, width, map_stride, 0) * _negative_power(base, beta, roots)
    tl.store(y_at + at, y.to(y_at.dtype.element_ty), mask=real & (number < width))


@triton.jit
def _backward(
    x_at, g_at, out_at, pixels, positions, maps, width, tiles, map_stride, position_stride, scale, beta, k,
    reach: tl.constexpr, tile_pixels: tl.constexpr, tile_maps: tl.constexpr, roots: tl.constexpr,
):  # fmt: skip
    """One tile of g * f - 2 * scale * beta * x * window_sum(g * f * x / base), f = base^-beta."""
    at, number, real = _tile(
        pixels, positions, maps, width, tiles, map_stride, position_stride, tile_pixels, tile_maps
    )
    shared = tl.zeros((tile_pixels, tile_maps), tl.float32)
    for shift in tl.static_range(-reach, reach + 1):
        x = _load(x_at + at, number, real, width, map_stride, shift)
        g = _load(g_at + at, number, real, width, map_stride, shift)
        base = _base(x_at + at, number, real, width, map_stride, scale, k, shift, reach)
        inside = (number + shift >= 0) & (number + shift < width)  # outside of it base may be 0
        shared += tl.where(inside, g * _negative_power(base, beta, roots) * x / base, 0.0)
    x = _load(x_at + at, number, real, width, map_stride, 0)
    g = _load(g_at + at, number, real, width, map_stride, 0)
    base = _base(x_at + at, number, real, width, map_stride, scale, k, 0, reach)
    made = g * _negative_power(base, beta, roots) - 2.0 * scale * beta * x * shared
    tl.store(out_at + at, made.to(out_at.dtype.element_ty), mask=real & (number < width))


@triton.jit
def _tile(
    pixels, positions, maps, width, tiles, map_stride, position_stride,
    tile_pixels: tl.constexpr, tile_maps: tl.constexpr,
):  # fmt: skip
    """This program's elements (pixels, maps): offsets, the numbers of the maps in their group, which
    pixels exist.

    pixels: of the whole batch. positions: pixels of an image. maps: of all groups. width: maps of a
    group, which has that many `tiles`.
    """
    pixel = tl.program_id(0) * tile_pixels + tl.arange(0, tile_pixels)
    number = tl.program_id(1) % tiles * tile_maps + tl.arange(0, tile_maps)
    first = pixel // positions * (maps * positions) + pixel % positions * position_stride
    offset = (tl.program_id(1) // tiles * width + number) * map_stride
    return first[:, None] + offset[None, :], number[None, :], (pixel < pixels)[:, None]


@triton.jit
def _base(at, number, real, width, map_stride, scale, k, shift: tl.constexpr, reach: tl.constexpr):
    """k + scale * (the sum of x^2 over the window around the map at distance `shift`)."""
    total = tl.zeros(at.shape, tl.float32)
    for near in tl.static_range(shift - reach, shift + reach + 1):
        x = _load(at, number, real, width, map_stride, near)
        total += x * x
    return k + scale * total


@triton.jit
def _load(at, number, real, width, map_stride, shift: tl.constexpr):
    """The maps at distance `shift`, float32; 0 outside of the group.

    The compiler loads equal ones once.
    """
    inside = real & (number + shift >= 0) & (number + shift < width)
    return tl.load(at + shift * map_stride, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _negative_power(base, beta, roots: tl.constexpr):
    """base^-beta; for the paper's 0.75 by two square roots."""
    if roots:
        root = tl.rsqrt(base)
        made = root * tl.sqrt(root)
    else:
        made = tl.exp2(-beta * tl.log2(base))
    return made
