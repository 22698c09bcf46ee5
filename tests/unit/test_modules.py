"""Each layer that torch lacks or does otherwise, against loops in float64."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from variants.layers import (
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Inception,
    Init,
    Layer,
    Local,
    Pool,
)
from variants.modules import blocks
from variants.modules.alexnet import AlexNet, build
from variants.modules.local_windows import windows
from variants.spec import AlexNetSpec

CLOSE = 1e-12  # float64 sums of fewer than 1,000 terms in another order


def net_of(*layers: Layer, side: int = 7, channels: int = 4) -> AlexNet:
    """The layers between an image and a classifier, in float64, ready for evaluation."""
    spec = AlexNetSpec(
        input_size=side, input_channels=channels, layers=(*layers, Dense(name="scores", out=2))
    )
    return build(spec, generator=torch.Generator().manual_seed(3)).double().eval()


def module_of(layer: Layer, side: int = 7, channels: int = 4) -> nn.Module:
    return net_of(layer, side=side, channels=channels).get_submodule(layer.name)


def images(side: int = 7, channels: int = 4) -> Tensor:
    return torch.randn(
        2, channels, side, side, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )


def weights(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters())


def test_local_layer_has_kernels_and_biases_of_its_own_at_every_position() -> None:
    module, x = (
        module_of(Local(name="local", out=3, kernel=3, stride=2, padding=1, init=Init(scheme="torch"))),
        images(),
    )
    own, made = weights(module), module(x)
    padded = F.pad(x, (1, 1, 1, 1))
    assert made.shape == (2, 3, 4, 4)
    for row, column in product(range(4), range(4)):
        window = padded[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3].flatten(1)
        wanted = window @ own["weight"][4 * row + column].T + own["bias"][:, row, column]
        torch.testing.assert_close(made[:, :, row, column], wanted, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 3, 0), (1, 1, 0)])
def test_local_windows_and_their_derivative_are_those_of_unfold(
    kernel: int, stride: int, padding: int
) -> None:
    """The derivative adds at most 9 numbers in another order."""
    x = images().requires_grad_()
    made = windows(x, kernel, stride, padding)
    unfolded = F.unfold(x, kernel, padding=padding, stride=stride)  # (N, C * kernel^2, positions)
    wanted = unfolded.unflatten(1, (4, kernel**2)).permute(0, 3, 2, 1).flatten(2)
    assert torch.equal(made.flatten(1, 2), wanted)
    above = torch.randn(made.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (grad,) = torch.autograd.grad(made, x, above)
    (wanted_grad,) = torch.autograd.grad(wanted, x, above.flatten(1, 2))
    torch.testing.assert_close(grad, wanted_grad, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "rule"), [(3, 2, 0, "ceil"), (3, 2, 1, "ceil"), (2, 2, 0, "floor")]
)
@pytest.mark.parametrize("function", ["max", "avg"])
def test_pool_counts_only_the_part_of_its_window_on_the_map(
    function: str, size: int, stride: int, padding: int, rule: str
) -> None:
    layer = Pool(name="pool", function=function, size=size, stride=stride, padding=padding, rule=rule)  # type: ignore[arg-type]
    x = images(side=8)
    made = module_of(layer, side=8)(x)
    assert made.shape[1:] == layer.output((4, 8, 8))
    for row, column in product(range(made.shape[2]), range(made.shape[3])):
        top, left = row * stride - padding, column * stride - padding
        window = x[:, :, max(0, top) : top + size, max(0, left) : left + size].flatten(2)
        wanted = window.amax(2) if function == "max" else window.mean(2)
        torch.testing.assert_close(made[:, :, row, column], wanted, rtol=CLOSE, atol=CLOSE)


def test_ceil_rule_reads_zeros_at_right_and_bottom_only() -> None:
    ceil = Conv(name="conv", out=2, kernel=3, stride=2, rule="ceil", init=Init(scheme="torch"))
    module, x = module_of(ceil, side=8), images(side=8)
    wanted = F.conv2d(
        F.pad(x, (0, 1, 0, 1)), weights(module)["weight"], weights(module)["bias"], stride=2
    )
    assert torch.equal(module(x), wanted)
    assert wanted.shape[2:] == (4, 4)


def test_grouped_dense_layer_is_one_dense_layer_per_column() -> None:
    module, x = module_of(Dense(name="dense", out=6, groups=2, init=Init(scheme="torch"))), images()
    own = weights(module)
    columns = zip(x.chunk(2, 1), own["weight"].chunk(2), own["bias"].chunk(2), strict=True)
    wanted = torch.cat([F.linear(maps.flatten(1), weight, bias) for maps, weight, bias in columns], 1)
    torch.testing.assert_close(module(x), wanted, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("order", ["depthwise_first", "pointwise_first"])
def test_separable_convolution_is_a_convolution_with_factored_kernels(order: str) -> None:
    layer = Conv(
        name="conv", out=6, kernel=3, stride=2, rule="ceil", separable=order, init=Init(scheme="torch")
    )  # type: ignore[arg-type]
    module, x = module_of(layer, side=8), images(side=8)
    own = weights(module)
    wide, narrow = own["depthwise.weight"][:, 0], own["pointwise.weight"][:, :, 0, 0]
    if order == "depthwise_first":  # narrow (6, 4), wide (4, 3, 3)
        kernels, bias = torch.einsum("oc,chw->ochw", narrow, wide), own["pointwise.bias"]
    else:  # wide (6, 3, 3)
        kernels, bias = torch.einsum("oc,ohw->ochw", narrow, wide), own["depthwise.bias"]
    wanted = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernels, bias, stride=2)
    torch.testing.assert_close(module(x), wanted, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("separable", ["no", "depthwise_first"])
def test_residual_convolution_adds_its_input(separable: str) -> None:
    plain = Conv(
        name="conv", out=4, kernel=3, padding=1, separable=separable, init=Init(scheme="torch")
    )  # type: ignore[arg-type]
    skip = Conv(
        name="conv",
        out=4,
        kernel=3,
        padding=1,
        separable=separable,
        residual=True,
        init=Init(scheme="torch"),
    )  # type: ignore[arg-type]
    x = images()
    torch.testing.assert_close(module_of(skip)(x), module_of(plain)(x) + x, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("separable", [False, True])
def test_inception_concatenates_pooled_branches(separable: bool) -> None:
    layer = Inception(name="mix", one=2, three=3, five=4, separable=separable, batch_norm=False)
    module, x = module_of(layer), images()
    made = module(x)
    assert made.shape == (2, 9, 7, 7)
    one = F.conv2d(x, weights(module)["branch1x1.conv.weight"], weights(module)["branch1x1.conv.bias"])
    torch.testing.assert_close(made[:, :2], F.max_pool2d(one.relu(), 3, 1, 1), rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("side", [6, 7, 13])
def test_adaptive_pool_is_torchs_and_passes_maps_of_its_size_by_themselves(side: int) -> None:
    """With the same bits; on a GPU the backward pass of torch's operation adds in no fixed order."""
    x = torch.randn(3, 4, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
    module = blocks.AdaptivePool(AdaptivePool(name="n", size=6))
    above = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    pairs = []
    for pool in (module, nn.AdaptiveAvgPool2d(6)):
        made = pool(x)
        pairs.append((made, *torch.autograd.grad(made, x, above)))
    for made, wanted in zip(*pairs, strict=True):
        assert torch.equal(made, wanted)
    assert (module(x) is x) is (side == 6)


def test_batch_norm_does_not_map_to_zero_to_one() -> None:
    module = module_of(BatchNorm(name="norm")).train()
    made = module(images(side=7) * 57 + 100)
    assert made.mean(dim=(0, 2, 3)).abs().max() < CLOSE
    # eps = 1e-5
    torch.testing.assert_close(
        made.var(dim=(0, 2, 3), correction=0), torch.ones(4, dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert made.min() < -1
    assert made.max() > 1


def test_dropout_before_relu_is_dropout_after_relu() -> None:
    """relu(mask * x) = mask * relu(x) for a mask >= 0: scores and gradients agree bit for bit."""
    dense, relu, drop = Dense(name="fc", out=64), Activation(name="relu"), Dropout(name="drop")
    results = []
    for order in ((relu, drop), (drop, relu)):
        net = net_of(dense, *order).train()
        torch.manual_seed(11)
        scores = net(images())
        scores.square().sum().backward()
        results.append([scores, *(p.grad for p in net.parameters())])
    first, second = results
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))  # type: ignore[arg-type]
    assert first[0].abs().sum() > 0  # type: ignore[union-attr]


def test_images_are_left_as_they_came() -> None:
    net, x = (
        net_of(Activation(name="relu"), Conv(name="conv", out=2, kernel=3), Activation(name="relu1")),
        images(),
    )
    before = x.clone()
    net(x)
    assert torch.equal(x, before)


def test_box_head_reads_what_the_classifier_reads() -> None:
    spec = AlexNetSpec(
        input_size=7,
        layers=(Dense(name="fc", out=5), Dense(name="scores", out=3)),
        box=Dense(name="box", out=4),
    )
    net, x = build(spec, generator=torch.Generator().manual_seed(3)), images(channels=3).float()
    scores, boxes = net.forward_with_box(x)
    assert torch.equal(scores, net(x))
    assert torch.equal(boxes, net.get_submodule("box")(net.get_submodule("fc")(x)))
    assert {"box.weight", "box.bias"} <= set(net.state_dict())


def test_parameters_know_their_layer_and_type() -> None:
    net = net_of(
        BatchNorm(name="bn"),
        Conv(name="sep", out=4, kernel=1, separable="depthwise_first"),
        Inception(name="mix", one=1, three=1, five=1),
    )
    assert net.layer_of("bn.weight") == ("bn", "batch_norm", "weight")
    assert net.layer_of("sep.depthwise.weight") == ("sep", "conv", "weight")
    assert net.layer_of("sep.pointwise.bias") == ("sep", "conv", "bias")
    assert net.layer_of("mix.branch3x3.conv.weight") == ("mix", "inception", "weight")
    assert net.layer_of("mix.branch3x3.norm.weight") == ("mix", "batch_norm", "weight")
    assert net.layer_of("scores.bias") == ("scores", "dense", "bias")
