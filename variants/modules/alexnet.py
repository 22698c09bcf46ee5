"""AlexNet as a torch module, built layer by layer from a spec.

Parameters have the spec's names (`conv1.weight`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from variants import layers
from variants.modules import blocks, fused_relu_norm_pool, lrn
from variants.modules.init import initialise
from variants.spec import AlexNetSpec, LayerRow

ParameterType = Literal["weight", "bias"]


class AlexNet(nn.Module):
    """The network of a spec without initial weights; `build` returns an initialised one.

    Layers return (N, channels, height, width) as in the spec, and (N, units) from the first dense layer
    on.
    """

    def __init__(self, spec: AlexNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.num_classes = spec.classes
        before = ""
        for row in spec.rows:
            self.add_module(row.layer.name, layer_module(row, before))
            before = row.layer.kind

    def forward(self, x: Tensor) -> Tensor:
        """(N, input_channels, input_size, input_size) -> class scores (N, classes), unnormalised."""
        return self._score(self._features(x))

    def forward_with_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, with the box head's (N, 4): x, y, width, height as fractions of the image.

        Needs `spec.box`.
        """
        features = self._features(x)
        assert self.spec.box is not None
        return self._score(features), self.get_submodule(self.spec.box.name)(features)

    def layer_of(self, parameter: str) -> tuple[str, str, ParameterType]:
        """(layer name, layer kind, "weight" or "bias") of a parameter such as `conv1.weight`.

        The scale of a batch normalisation is its weight. Batch norm in an inception block has the kind
        `batch_norm`.
        """
        path, _, leaf = parameter.rpartition(".")
        name = path.partition(".")[0]
        inner = self.get_submodule(path)
        kind = (
            "batch_norm"
            if isinstance(inner, nn.modules.batchnorm._BatchNorm)
            else self.spec.layer_kinds[name]
        )
        return name, kind, "bias" if leaf == "bias" else "weight"

    def _features(self, x: Tensor) -> Tensor:
        modules, at = [self.get_submodule(layer.name) for layer in self.spec.layers[:-1]], 0
        while at < len(modules):
            x, at = fused_relu_norm_pool.run(modules, x, at)
        return x

    def _score(self, features: Tensor) -> Tensor:
        scores: Tensor = self.get_submodule(self.spec.layers[-1].name)(features)
        return scores


def build(
    spec: AlexNetSpec,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> AlexNet:
    """A network with initial weights on `device` (None is the CPU; "meta" allocates no memory).

    Weights are drawn on the CPU in the layers' order, so equal generator states give equal bits on
    every device. Without a generator, torch's global one is used.
    """
    with torch.device("meta"):
        net = AlexNet(spec)
    if torch.device(device or "cpu").type == "meta":
        return net
    net.to_empty(device="cpu")
    initialise(net, generator)
    return net.to(device)


def layer_module(row: LayerRow, before: str) -> nn.Module:
    """The module of one row, without initial weights. `before` is the kind of the layer before it."""
    match row.layer:
        case layers.Conv() as layer:
            return blocks.convolution(layer, row.input)
        case layers.Local() as layer:
            return blocks.Local(layer, row.input)
        case layers.Dense() as layer:
            return (blocks.Dense if layer.groups == 1 else blocks.GroupedDense)(layer, row.input[0])
        case layers.Inception() as layer:
            return blocks.Inception(layer, row.input)
        case layers.BatchNorm() as layer:
            return blocks.BatchNorm(row.input[0], layer.eps, layer.momentum, layer.affine)
        case layers.Activation() as layer:
            return _activation(layer, before)
        case layers.LRN() as layer:
            return lrn.ResponseNorm(layer)
        case layers.SpatialLRN() as layer:
            return lrn.SpatialResponseNorm(layer)
        case layers.Pool() as layer:
            return _pool(layer)
        case layers.AdaptivePool() as layer:
            return blocks.AdaptivePool(layer)
        case layers.Dropout() as layer:
            return nn.Dropout(layer.p)


def _activation(layer: layers.Activation, before: str) -> nn.Module:
    if layer.function == "relu":
        # In place only after layers whose backward pass does not need their output.
        return nn.ReLU(inplace=before in ("conv", "local", "dense", "batch_norm"))
    return nn.Tanh()


def _pool(layer: layers.Pool) -> nn.Module:
    ceil = layer.rule == "ceil"
    if layer.function == "max":
        return nn.MaxPool2d(layer.size, layer.stride, layer.padding, ceil_mode=ceil)
    return nn.AvgPool2d(
        layer.size, layer.stride, layer.padding, ceil_mode=ceil, count_include_pad=False
    )
