"""Torch modules for the layers of variants/layers.py that torch lacks or implements by another rule
than in 2012.

A `shape` is (channels, height, width) of one input. Weights are not initialised here; alexnet.py does
that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from variants import layers
from variants.layers import Shape
from variants.modules import local_windows


class Conv(nn.Conv2d):
    """A convolution with the spec's output rule and, if the layer is residual, its identity
    connection.
    """

    def __init__(self, layer: layers.Conv, shape: Shape) -> None:
        super().__init__(
            shape[0],
            layer.out,
            layer.kernel,
            layer.stride,
            layer.padding,
            groups=layer.groups,
            bias=layer.use_bias,
        )
        self.past_edge = past_edge(layer, shape)
        self.residual = layer.residual

    def forward(self, x: Tensor) -> Tensor:
        # torch.jit does not support super(), so this calls what nn.Conv2d.forward calls
        made: Tensor = self._conv_forward(_padded(x, self.past_edge), self.weight, self.bias)
        return made.add_(x) if self.residual else made


class SeparableConv(nn.Module):
    """One k x k kernel per map and a 1x1 convolution, in either order.

    Only the second one has a bias.
    """

    def __init__(self, layer: layers.Conv, shape: Shape) -> None:
        super().__init__()
        self.past_edge = past_edge(layer, shape)
        self.residual = layer.residual
        self.depthwise_first = layer.separable == "depthwise_first"
        maps, bias = (shape[0], False) if self.depthwise_first else (layer.out, layer.use_bias)
        self.depthwise = nn.Conv2d(
            maps, maps, layer.kernel, layer.stride, layer.padding, groups=maps, bias=bias
        )
        self.pointwise = nn.Conv2d(shape[0], layer.out, 1, bias=layer.use_bias and self.depthwise_first)

    def forward(self, x: Tensor) -> Tensor:
        if self.depthwise_first:
            made: Tensor = self.pointwise(self.depthwise(_padded(x, self.past_edge)))
        else:
            made = self.depthwise(_padded(self.pointwise(x), self.past_edge))
        return made.add_(x) if self.residual else made


def convolution(layer: layers.Conv, shape: Shape) -> Conv | SeparableConv:
    """The module of a convolution: separable or ordinary, as the layer says."""
    return (Conv if layer.separable == "no" else SeparableConv)(layer, shape)


def past_edge(layer: layers.Conv, shape: Shape) -> tuple[int, int, int, int]:
    """Zero padding of `layer` as (left, right, top, bottom): (0, 3, 0, 3) for 224, 11x11/4 and
    "ceil".
    """
    _, height, width = shape
    _, rows, columns = layer.output(shape)
    reach = [(count - 1) * layer.stride + layer.kernel - 2 * layer.padding for count in (columns, rows)]
    return (0, max(0, reach[0] - width), 0, max(0, reach[1] - height))


def _padded(x: Tensor, edges: tuple[int, int, int, int]) -> Tensor:
    return F.pad(x, edges) if any(edges) else x


class Local(nn.Module):
    """A convolution with different kernels and biases at every position, as in
    `layers-conv-local-13pct.cfg` (2012).

    weight: (positions, out, channels * kernel^2), with positions in row-major order. bias: (out, rows,
    columns).
    """

    def __init__(self, layer: layers.Local, shape: Shape) -> None:
        super().__init__()
        self.kernel, self.padding, self.stride = layer.kernel, layer.padding, layer.stride
        self.out, self.rows, self.columns = out, rows, columns = layer.output(shape)
        self.weight = nn.Parameter(torch.empty(rows * columns, out, shape[0] * layer.kernel**2))
        self.bias = nn.Parameter(torch.empty(out, rows, columns))

    def forward(self, x: Tensor) -> Tensor:
        seen = local_windows.windows(x, self.kernel, self.stride, self.padding)
        seen = seen.flatten(1, 2).transpose(0, 1)  # (positions, N, kernel^2 * channels)
        # the windows have the numbers of a pixel next to each other, the weights the pixels of a map
        kernels = self.weight.view(self.rows * self.columns, self.out, -1, self.kernel * self.kernel)
        made = torch.bmm(seen, kernels.transpose(2, 3).flatten(2).transpose(1, 2))
        made = made.transpose(0, 1).reshape(-1, self.rows, self.columns, self.out)
        return made.permute(0, 3, 1, 2) + self.bias


class Dense(nn.Linear):
    """A fully connected layer over the flattened input."""

    def __init__(self, layer: layers.Dense, inputs: int) -> None:
        super().__init__(inputs, layer.out, bias=layer.use_bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


class GroupedDense(nn.Module):
    """A fully connected layer in `groups` columns, each of which reads its own part of the inputs.

    weight: (out, inputs / groups). bias: (out,). The columns follow each other in both.
    """

    def __init__(self, layer: layers.Dense, inputs: int) -> None:
        super().__init__()
        self.groups = layer.groups
        self.weight = nn.Parameter(torch.empty(layer.out, inputs // layer.groups))
        self.bias = nn.Parameter(torch.empty(layer.out)) if layer.use_bias else None

    def forward(self, x: Tensor) -> Tensor:
        shares = x.reshape(x.shape[0], self.groups, -1).transpose(0, 1)
        kernels = self.weight.view(self.groups, -1, self.weight.shape[1]).transpose(1, 2)
        made = torch.bmm(shares, kernels).transpose(0, 1).flatten(1)
        return made if self.bias is None else made + self.bias


class Inception(nn.Module):
    """Concatenated branches of convolution, batch norm or bias, ReLU and 3x3/1 max pooling
    (article's claim 43).
    """

    def __init__(self, layer: layers.Inception, shape: Shape) -> None:
        super().__init__()
        for kernel, out in layer.branches():
            conv = layers.Conv(
                name=layer.name,
                out=out,
                kernel=kernel,
                padding=kernel // 2,
                separable="depthwise_first" if layer.separable and kernel > 1 else "no",
                use_bias=not layer.batch_norm,
            )
            branch = nn.Sequential()
            branch.add_module("conv", convolution(conv, shape))
            if layer.batch_norm:
                branch.add_module("norm", nn.BatchNorm2d(out))
            branch.add_module("relu", nn.ReLU(inplace=True))
            branch.add_module("pool", nn.MaxPool2d(3, 1, 1))
            self.add_module(f"branch{kernel}x{kernel}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class AdaptivePool(nn.Module):
    """Average pooling to `size` x `size`; maps of that size pass as they are.

    torch's operation gives the same values then, but on a GPU its backward pass adds in no fixed order.
    """

    def __init__(self, layer: layers.AdaptivePool) -> None:
        super().__init__()
        self.size = layer.size

    def forward(self, x: Tensor) -> Tensor:
        return _adaptive_average(x, self.size)

    def extra_repr(self) -> str:
        return str(self.size)


@torch.fx.wrap
def _adaptive_average(x: Tensor, size: int) -> Tensor:
    if x.shape[-2] == size and x.shape[-1] == size:
        return x
    return F.adaptive_avg_pool2d(x, (size, size))


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of (N, C, H, W) or (N, C)."""

    def _check_input_dim(self, x: Tensor) -> None:
        _refuse_sequences(x)


@torch.fx.wrap
def _refuse_sequences(x: Tensor) -> None:
    if x.dim() != 2 and x.dim() != 4:
        raise ValueError(f"expected (N, C, H, W) or (N, C), got {list(x.shape)}")
