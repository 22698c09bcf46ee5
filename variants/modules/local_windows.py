"""The windows of a locally connected layer, copied so that each position needs one matrix product.

With torch's `unfold` a step of cifar_13pct_lrn takes a third longer. The derivative is written by hand, since
autograd would fill a tensor with zeros for each of the window's pixels. torch.export and torch.jit get
the same copy in operations of torch, as in lrn.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.jit import is_scripting  # type: ignore[attr-defined]
from torch.nn import functional as F

from variants.modules.leaving import leaves_this_package


@torch.fx.wrap
def windows(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """(N, C, H, W) -> (N, rows, columns, kernel^2 * C): the pixels of each window in row-major order,
    all C numbers of a pixel next to each other.
    """
    if not is_scripting():  # noqa: SIM102  # torch.jit leaves out the branch only if this stands alone
        if not leaves_this_package():
            made: Tensor = _windows(x, kernel, stride, padding)
            return made
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    rows = (padded.shape[1] - kernel) // stride + 1
    columns = (padded.shape[2] - kernel) // stride + 1
    parts = []
    for i in range(kernel):
        for j in range(kernel):
            part = padded[:, i : i + stride * (rows - 1) + 1 : stride]
            parts.append(part[:, :, j : j + stride * (columns - 1) + 1 : stride])
    return torch.cat(parts, dim=3)


@torch.library.custom_op("alexnet_harness::local_windows", mutates_args=())
def _windows(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding)).contiguous()
    images, height, width, maps = padded.shape
    rows, columns = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    of_image, of_row, of_pixel, _ = padded.stride()
    # the pixels of a window's row follow each other in memory
    seen = padded.as_strided(
        (images, rows, columns, kernel, kernel * maps),
        (of_image, stride * of_row, stride * of_pixel, of_row, 1),
    )
    return seen.clone(memory_format=torch.contiguous_format).flatten(3)


@torch.library.custom_op("alexnet_harness::local_windows_backward", mutates_args=())
def _windows_backward(
    grad: Tensor, height: int, width: int, kernel: int, stride: int, padding: int
) -> Tensor:
    """(N, rows, columns, kernel^2 * C) -> (N, C, height, width): the sum over all windows with a
    pixel.
    """
    images, rows, columns, _ = grad.shape
    of_pixels = grad.reshape(images, rows, columns, kernel, kernel, -1)
    made = grad.new_zeros(images, height + 2 * padding, width + 2 * padding, of_pixels.shape[5])
    for i in range(kernel):
        for j in range(kernel):
            reached = made[:, i : i + stride * (rows - 1) + 1 : stride]
            reached[:, :, j : j + stride * (columns - 1) + 1 : stride] += of_pixels[:, :, :, i, j]
    inner = made[:, padding : padding + height, padding : padding + width]
    return inner.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@_windows.register_fake
def _(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    images, maps, height, width = x.shape
    rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    return x.new_empty(images, rows, columns, kernel * kernel * maps)


@_windows_backward.register_fake
def _(grad: Tensor, height: int, width: int, kernel: int, stride: int, padding: int) -> Tensor:
    made = grad.new_empty(grad.shape[0], height, width, grad.shape[3] // kernel**2)
    return made.permute(0, 3, 1, 2)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *ctx.window = inputs
    ctx.height, ctx.width = x.shape[2:]


def _derive(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _windows_backward(grad, ctx.height, ctx.width, *ctx.window), None, None, None


_windows.register_autograd(_derive, setup_context=_save)
