"""What the tests of the fused CPU operation share: images, norms, and the modules that it replaces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from variants.layers import LRN
from variants.modules.lrn import ResponseNorm

NORMS = {
    "5 maps, two columns": LRN(name="n", groups=2),
    "5 maps": LRN(name="n", alpha=1e-2, divide_by_size=True),
    "9 maps": LRN(name="n", size=9, alpha=1e-3, k=1.0),
}


def chain(norm: LRN, *, relu: bool = True, ceil: bool = True) -> list[nn.Module]:
    pool = nn.MaxPool2d(3, 2, ceil_mode=ceil)
    return [*([nn.ReLU()] if relu else []), ResponseNorm(norm), pool]


def images(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def one_by_one(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
