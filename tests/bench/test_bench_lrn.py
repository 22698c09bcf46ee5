"""Response normalisation, forward and backward, against torch's own in the same process. Nothing is asserted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from variants.layers import LRN
from variants.modules.lrn import ResponseNorm

SHAPES = {
    "mini norm1": (128, 24, 32, 32),
    "mini norm2": (128, 64, 16, 16),
    "full norm1": (32, 96, 55, 55),
}
NORMS = {
    "ours": ResponseNorm(LRN(name="norm", groups=2)),
    "torch": nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0),  # the same constants; torch divides alpha by 5
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_forward_and_backward(benchmark: Any, shape: str, norm: str, layout: str) -> None:
    x = torch.rand(SHAPES[shape]).mul_(30).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    above = torch.ones_like(x)
    benchmark.group = f"{shape}, {layout}"
    benchmark(lambda: torch.autograd.grad(NORMS[norm](x), x, above))
