"""Fresh weights are the paper's, layer by layer, and a function of the generator alone."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from variants.catalog.paper import PAPER
from variants.layers import Conv, Dense, Inception, Init, Local
from variants.modules.alexnet import AlexNet, build
from variants.spec import AlexNetSpec

# sec. 5
PAPER_BIAS = {
    "conv1": 0,
    "conv2": 1,
    "conv3": 0,
    "conv4": 1,
    "conv5": 1,
    "fc6": 1,
    "fc7": 1,
    "fc8": 0,
}


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def paper() -> AlexNet:
    return build(PAPER, generator=seeded())


@pytest.mark.parametrize("layer", PAPER_BIAS)
def test_paper_starts_at_normal_001_and_its_biases(paper: AlexNet, layer: str) -> None:
    """The std of n normal draws has a relative standard error of 1/sqrt(2n), the mean one of std/sqrt(n): 5 of each."""
    own = dict(paper.get_submodule(layer).named_parameters())
    weight, count = own["weight"].double(), own["weight"].numel()
    assert abs(weight.std().item() / 0.01 - 1) < 5 / sqrt(2 * count)
    assert abs(weight.mean().item()) < 5 * 0.01 / sqrt(count)
    assert torch.all(own["bias"] == PAPER_BIAS[layer])


MIXED = AlexNetSpec(
    input_size=8,
    layers=(
        Conv(name="conv", out=4, kernel=3, groups=1),
        Conv(name="sep", out=4, kernel=3, separable="pointwise_first", init=Init(scheme="he_normal")),
        Inception(name="mix", one=2, three=2, five=2),
        Local(name="local", out=3, kernel=2, init=Init(scheme="torch")),
        Dense(name="fc", out=6, init=Init(scheme="torch")),
        Dense(name="scores", out=2),
    ),
    box=Dense(name="box", out=4),
)


def test_equal_generators_give_equal_bits_and_leave_torchs_own_alone() -> None:
    before = torch.get_rng_state()
    first, second = (build(MIXED, generator=seeded(5)).state_dict() for _ in range(2))
    other = build(MIXED, generator=seeded(6)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["conv.weight"], other["conv.weight"])


def test_without_a_generator_torchs_seed_counts() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(9)
        made.append(build(MIXED).state_dict()["fc.weight"])
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("scheme", "bound", "std"),
    [
        ("he_normal", None, sqrt(2 / 900)),
        ("torch", 1 / 30, 1 / 30 / sqrt(3)),
    ],
)
def test_later_schemes_scale_with_fan_in(scheme: str, bound: float | None, std: float) -> None:
    """900 inputs, 100 units: the published formulas. 90,000 draws put the std within 2 % (8 standard errors)."""
    init = Init(scheme=scheme, bias=0.5)  # type: ignore[arg-type]
    spec = AlexNetSpec(
        input_size=30,
        input_channels=1,
        layers=(Dense(name="fc", out=100, init=init), Dense(name="scores", out=2)),
    )
    own = dict(build(spec, generator=seeded()).get_submodule("fc").named_parameters())
    assert own["weight"].std().item() == pytest.approx(std, rel=0.02)
    if bound is not None:
        assert 0.99 * bound < own["weight"].abs().max().item() <= bound
    if scheme == "torch":
        assert 0 < own["bias"].abs().max().item() <= 1 / 30
    else:
        assert torch.all(own["bias"] == 0.5)


def test_the_fan_in_of_a_convolution_counts_its_window() -> None:
    init = Init(scheme="he_normal")
    conv = Conv(name="conv", out=64, kernel=3, groups=2, init=init)
    local = Local(name="local", out=16, kernel=3, init=init)
    spec = AlexNetSpec(
        input_size=8, input_channels=32, layers=(conv, local, Dense(name="scores", out=2))
    )
    net = build(spec, generator=seeded())
    for layer, fan_in in (("conv", 16 * 9), ("local", 64 * 9)):  # 9,216 and 147,456 draws
        weight = dict(net.get_submodule(layer).named_parameters())["weight"]
        assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=0.04)


def test_batch_norm_starts_as_standardisation() -> None:
    norm = build(MIXED, generator=seeded()).get_submodule("mix.branch3x3.norm").state_dict()
    assert torch.all(norm["weight"] == 1)
    assert torch.all(norm["bias"] == 0)
    assert torch.all(norm["running_mean"] == 0)
    assert torch.all(norm["running_var"] == 1)


def test_meta_device_makes_shapes_without_memory() -> None:
    net = build(PAPER, device="meta")
    assert all(parameter.is_meta for parameter in net.parameters())
    assert net(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)
