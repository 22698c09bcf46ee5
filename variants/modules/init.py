"""Initialisation of weights by each layer's Init: the paper's N(0, 0.01) with constant biases, and
later schemes.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from variants.layers import Init
from variants.modules import blocks

if TYPE_CHECKING:
    from variants.modules.alexnet import AlexNet


@torch.no_grad()
def initialise(net: AlexNet, generator: torch.Generator | None) -> None:
    """Draw every weight from `generator`, layer by layer in order.

    Equal generator states give equal weights.
    """
    for row in net.spec.rows:
        for module in net.get_submodule(row.layer.name).modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_parameters()  # scale 1, shift 0, no random numbers
            elif isinstance(getattr(module, "weight", None), Tensor):
                _fill(module, row.layer.init, generator)  # type: ignore[union-attr]  # it has weights


def _fill(module: nn.Module, init: Init, generator: torch.Generator | None) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    fan_in = _fan_in(module, weight)
    match init.scheme:
        case "normal":
            weight.normal_(0.0, init.std, generator=generator)
        case "he_normal":
            weight.normal_(0.0, sqrt(2.0 / fan_in), generator=generator)
        case "torch":
            _uniform(weight, sqrt(1.0 / fan_in), generator)
    if isinstance(bias, Tensor):
        if init.scheme == "torch":
            _uniform(bias, sqrt(1.0 / fan_in), generator)
        else:
            bias.fill_(init.bias)


def _uniform(tensor: Tensor, bound: float, generator: torch.Generator | None) -> None:
    tensor.uniform_(-bound, bound, generator=generator)


def _fan_in(module: nn.Module, weight: Tensor) -> int:
    """The number of inputs of one unit."""
    return weight.shape[2] if isinstance(module, blocks.Local) else weight[0].numel()
