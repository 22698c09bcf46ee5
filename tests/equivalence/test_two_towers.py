"""The grouped net is two half nets that meet where the paper's GPUs met: in conv3 and the dense layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from variants.catalog import CATALOG
from variants.catalog.paper import PAPER
from variants.geometry import to_mini
from variants.layers import LRN, BatchNorm
from variants.modules.alexnet import AlexNet, build
from variants.modules.lrn import ResponseNorm
from variants.modules.towers import Towers, split
from variants.spec import AlexNetSpec
from variants.values import SpecError
from variants.weights import load_weights, save_weights

# Scores agree bit for bit. A gradient that comes back through a crosslink is summed over both towers in another
# order than in one product; that is a few units in the last place of float64, 2e-16.
LAST_PLACES = 1e-13
TWO_COLUMNS = ("grouped_2gpu", "code_2012", "code_2012_no_crosstalk", "one_weird_trick", "batch_norm")


def net_of(spec: AlexNetSpec) -> AlexNet:
    return build(spec, generator=torch.Generator().manual_seed(1)).double().eval()


def images() -> Tensor:
    """Of a scale that makes conv1's outputs of the mini net about 300, where a norm that leaks shows."""
    return (
        torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        * 1600
    )


def gradients(towers: Towers, names: list[str]) -> dict[str, Tensor]:
    """Gradients under alexnet.py's names, both columns one after another."""
    own = {name: parameter.grad for name, parameter in towers.named_parameters()}
    found = {}
    for name in names:
        parts = [
            own[key] for key in (f"heads.{name}", f"tower0.{name}", f"tower1.{name}") if key in own
        ]
        assert all(part is not None for part in parts)
        found[name] = torch.cat(parts)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("name", TWO_COLUMNS)
def test_towers_compute_the_same_net_forward_and_backward_at_scale_300(name: str) -> None:
    net = net_of(to_mini(CATALOG[name].spec))
    towers = split(net, ("cpu", "cpu"))
    scores, other = net(images()), towers(images())
    assert torch.equal(scores, other)
    scores.square().sum().backward()
    other.square().sum().backward()
    found = gradients(towers, [key for key, _ in net.named_parameters()])
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None
        assert (found[key] - parameter.grad).abs().max() <= LAST_PLACES * parameter.grad.abs().max(), (
            key
        )


def test_towers_written_out_by_hand_give_the_same_scores() -> None:
    """No module of ours: two columns with slices of the weights, joined before conv3 and before each dense layer."""
    net = net_of(to_mini(PAPER))
    w = net.state_dict()

    def columns(x: list[Tensor], name: str, padding: int) -> list[Tensor]:
        halves = zip(x, w[f"{name}.weight"].chunk(2), w[f"{name}.bias"].chunk(2), strict=True)
        return [F.conv2d(maps, weight, bias, padding=padding).relu() for maps, weight, bias in halves]

    def pooled(x: list[Tensor]) -> list[Tensor]:
        return [F.max_pool2d(maps, 3, 2, ceil_mode=True) for maps in x]

    def normed(x: list[Tensor]) -> list[Tensor]:
        # test_lrn.py holds it to the written formula
        return [ResponseNorm(LRN(name="n"))(maps) for maps in x]

    x = columns([images(), images()], "conv1", 2)
    x = columns(pooled(normed(x)), "conv2", 2)
    both = torch.cat(pooled(normed(x)), 1)
    x = columns(columns(columns([both, both], "conv3", 1), "conv4", 1), "conv5", 1)
    units = torch.cat(pooled(x), 1).flatten(1)
    for name in ("fc6", "fc7"):
        units = F.linear(units, w[f"{name}.weight"], w[f"{name}.bias"]).relu()
    wanted = F.linear(units, w["fc8.weight"], w["fc8.bias"])
    torch.testing.assert_close(net(images()), wanted, rtol=LAST_PLACES, atol=0)


def test_a_norm_across_the_seam_is_another_net() -> None:
    """What a grouped net with a plain norm computes at that scale is about 1 % off, where towers differ in no bit."""
    net = net_of(to_mini(PAPER))
    leaky = net_of(to_mini(PAPER).but(norm1={"groups": 1}, norm2={"groups": 1}))
    assert 250 < net.get_submodule("conv1")(images()).std() < 350
    scores, wrong = net(images()), leaky(images())
    assert (wrong - scores).abs().max() > 0.005 * scores.abs().max()


def test_one_state_dict_for_both_placements(tmp_path: Path) -> None:
    net = net_of(to_mini(PAPER).after("conv3", BatchNorm(name="bn3")))
    towers = split(net, ("cpu", "cpu"))
    assert list(towers.state_dict()) == list(net.state_dict())
    assert all(torch.equal(towers.state_dict()[key], value) for key, value in net.state_dict().items())
    other = build(net.spec, generator=torch.Generator().manual_seed(8)).double().eval()
    save_weights(towers, tmp_path / "towers.safetensors")
    load_weights(tmp_path / "towers.safetensors", other)
    assert torch.equal(other(images()), net(images()))


def test_towers_are_copies_that_keep_the_mode() -> None:
    net = net_of(to_mini(PAPER)).train()
    towers = split(net, ("cpu", "cpu"))
    assert towers.training
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter.zero_()
    assert net.state_dict()["conv1.weight"].abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("ungrouped", "norm1"),
        ("residual_conv4", "conv4"),
        ("depthwise_separable", "conv1"),
        ("alexnet_bn", "bn_data"),
    ],
)
def test_nets_without_two_columns_are_refused_by_layer(name: str, layer: str) -> None:
    net: nn.Module = build(CATALOG[name].spec, device="meta")
    with pytest.raises(SpecError, match=layer):
        split(net, ("cpu", "cpu"))  # type: ignore[arg-type]
