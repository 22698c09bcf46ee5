"""224 or 227 pixels: how the 2012 code's ceil rule makes 55 positions of 224, and what its look-alikes compute."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from variants.catalog.paper import PAPER
from variants.modules.alexnet import AlexNet, build
from variants.spec import AlexNetSpec

# Only the stem matters here: conv1 to pool1 and a small classifier keep the test fast.
STEM = PAPER.without(*(layer.name for layer in PAPER.layers[4:-1])).with_classes(3)
CEIL_224 = STEM
FLOOR_227 = AlexNetSpec(input_size=227, layers=STEM.but(conv1={"rule": "floor"}).layers)
PADDED_224 = STEM.but(conv1={"rule": "floor", "padding": 2})
NAIVE_224 = STEM.but(conv1={"rule": "floor"})


def net_of(spec: AlexNetSpec) -> AlexNet:
    return build(spec, generator=torch.Generator().manual_seed(1))


def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2)) * 57


def stem_of(net: AlexNet) -> Tensor:
    made: Tensor = net.get_submodule("conv1")(images())
    return made


def test_224_with_the_ceil_rule_is_227_with_zeros_at_right_and_bottom() -> None:
    ceil, floor = net_of(CEIL_224), net_of(FLOOR_227)
    assert torch.equal(ceil(images()), floor(F.pad(images(), (0, 3, 0, 3))))


def test_zeros_on_other_sides_are_another_function() -> None:
    ceil, floor = net_of(CEIL_224), net_of(FLOOR_227)
    assert not torch.allclose(ceil(images()), floor(F.pad(images(), (3, 0, 3, 0))), rtol=0.01)


def test_padding_by_2_gives_55_positions_that_lie_2_pixels_off() -> None:
    ceil, padded = net_of(CEIL_224), net_of(PADDED_224)
    assert stem_of(ceil).shape == stem_of(padded).shape == (2, 96, 55, 55)
    assert not torch.allclose(stem_of(ceil), stem_of(padded), rtol=0.01)
    # the same windows, bar the last ones
    shifted = ceil.get_submodule("conv1")(F.pad(images(), (2, -2, 2, -2)))
    torch.testing.assert_close(
        stem_of(padded)[:, :, :-1, :-1], shifted[:, :, :-1, :-1], rtol=1e-4, atol=1e-3
    )


def test_neither_gives_54_positions_and_11_million_fewer_parameters() -> None:
    assert stem_of(net_of(NAIVE_224)).shape[2:] == (54, 54)
    floors = {name: {"rule": "floor"} for name in ("conv1", "pool1", "pool2", "pool5")}
    naive = PAPER.but(**floors)
    assert naive.rows[14].output == (256, 5, 5)
    assert naive.parameters == 49_430_888
    assert PAPER.parameters == 60_965_224
