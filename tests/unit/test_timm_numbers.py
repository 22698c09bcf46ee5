"""What a timm model computes: the bits of the spec-built net, in every way that timm calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from timm.layers import create_feature_extractor
from torch import nn
from torch.nn import functional as F

from variants import timm_models  # noqa: F401  # importing registers
from variants.catalog import CATALOG
from variants.geometry import to_mini
from variants.modules.alexnet import AlexNet, build
from variants.spec import AlexNetSpec
from variants.timm_support.adapter import TimmAlexNet
from variants.weights import WeightsError, load_weights, save_weights

SMALL = "alexnet_cifar_13pct"
SCRIPTING = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script:FutureWarning",
    "ignore:.*torch.jit.script:DeprecationWarning",  # torch 2.11
    "ignore:.*TorchScript:UserWarning",
)


def _distinct() -> dict[str, AlexNetSpec]:
    """Each net once, at 32 pixels; without the box head, which timm's interface leaves out."""
    found: dict[AlexNetSpec, str] = {}
    for row in CATALOG.values():
        found.setdefault(to_mini(row.spec) if "mini" in row.geometries else row.spec, row.name)
    return {name: spec for spec, name in found.items()}


NETS = _distinct()


def pair(name: str) -> tuple[AlexNet, TimmAlexNet]:
    """The spec-built net and the timm model, from equal states of the global generator."""
    torch.manual_seed(0)
    spec_built = build(NETS[name])
    torch.manual_seed(0)
    return spec_built, TimmAlexNet(NETS[name])


def batch(spec: AlexNetSpec) -> torch.Tensor:
    drawn = torch.randn(
        2, 3, spec.input_size, spec.input_size, generator=torch.Generator().manual_seed(1)
    )
    return drawn * 50


def trained(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Scores, and every gradient by its parameter's name, of one step in training mode."""
    torch.manual_seed(2)  # dropout's draws
    net.train().zero_grad()
    scores = net(x)
    F.cross_entropy(scores, torch.arange(len(x))).backward()
    grads = {
        name: parameter.grad
        for name, parameter in net.named_parameters()
        if not name.startswith("box.")
    }
    assert all(grad is not None for grad in grads.values()), "a parameter without a gradient"
    return {
        "scores": scores.detach(),
        **{name: grad.clone() for name, grad in grads.items() if grad is not None},
    }


def assert_equal_bits(made: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert made.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(made[name], wanted[name])] == []


@pytest.mark.parametrize("name", NETS)
def test_both_passes_have_the_bits_of_the_spec_built_net(name: str) -> None:
    spec_built, net = pair(name)
    x = batch(net.spec)
    assert_equal_bits(trained(net, x), trained(spec_built, x))
    assert torch.equal(net.eval()(x), spec_built.eval()(x))


@pytest.mark.parametrize("name", NETS)
def test_recomputing_maps_changes_no_bit(name: str) -> None:
    net = pair(name)[1]
    x = batch(net.spec)
    wanted, maps = trained(net, x), net.eval().forward_intermediates(x)
    running = {key: value.clone() for key, value in net.state_dict().items() if "running" in key}
    net.set_grad_checkpointing()
    assert_equal_bits(trained(net, x), wanted)
    if not running:  # two steps move the averages, which eval mode reads
        again = net.eval().forward_intermediates(x)
        assert all(
            torch.equal(a, b) for a, b in zip([again[0], *again[1]], [maps[0], *maps[1]], strict=True)
        )


@SCRIPTING
@pytest.mark.parametrize("name", NETS)
def test_traced_and_scripted_nets_have_the_bits_of_eager_mode(name: str) -> None:
    net = pair(name)[1].eval()
    x = batch(net.spec)
    wanted = net(x)
    traced = torch.fx.symbolic_trace(net)
    assert torch.equal(traced(x), wanted)
    assert torch.equal(torch.jit.script(net)(x), wanted)
    assert torch.equal(torch.jit.script(traced)(x), wanted)
    extractor = create_feature_extractor(net, {net.feature_info[-1]["module"]: "maps"})
    assert torch.equal(extractor(x)["maps"], net.forward_features(x))


@SCRIPTING
def test_scripting_separates_nets_that_differ_only_in_the_order_of_their_layers() -> None:
    first = "ungrouped"
    torch.jit.script(TimmAlexNet(NETS[first]).eval())
    net = TimmAlexNet(NETS[first].move("norm2", after="pool2")).eval()
    x = batch(net.spec)
    assert torch.equal(torch.jit.script(net)(x), net(x))


@pytest.mark.parametrize("name", ["grouped_2gpu", "batch_norm", "article"])
def test_a_traced_net_has_the_gradients_of_eager_mode(name: str) -> None:
    net = pair(name)[1].train()
    x = batch(net.spec)
    wanted = trained(net, x)
    assert_equal_bits(trained(torch.fx.symbolic_trace(net.train()), x), wanted)


@pytest.mark.parametrize("name", NETS)
def test_intermediate_maps_are_those_on_the_way_to_the_scores(name: str) -> None:
    net = pair(name)[1].eval()
    x = batch(net.spec)
    last, maps = net.forward_intermediates(x)
    assert torch.equal(last, net.forward_features(x))
    assert torch.equal(last, maps[-1])
    assert torch.equal(net.forward_head(last), net(x))
    (first,) = net.forward_intermediates(x, indices=[0], stop_early=True, intermediates_only=True)
    assert torch.equal(first, maps[0])
    assert [
        torch.equal(m, n) for m, n in zip(net.forward_intermediates(x, 2)[1], maps[-2:], strict=True)
    ] == [True] * 2


def test_the_box_head_is_left_out_unless_asked_for() -> None:
    spec_built, plain = pair("article")
    assert not any(key.startswith("box.") for key in plain.state_dict())
    torch.manual_seed(0)
    boxed = TimmAlexNet(NETS["article"], box=True).eval()
    x = batch(boxed.spec)
    for made, wanted in zip(
        boxed.forward_with_box(x), spec_built.eval().forward_with_box(x), strict=True
    ):
        assert torch.equal(made, wanted)


def test_weights_go_from_a_spec_built_net_to_timm_and_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    spec_built, back = build(CATALOG["cifar_13pct"].spec), build(CATALOG["cifar_13pct"].spec)
    for suffix in ("safetensors", "pth"):
        path = tmp_path / f"weights.{suffix}"
        save_weights(spec_built, path) if suffix == "safetensors" else torch.save(
            spec_built.state_dict(), path
        )
        loaded = timm.create_model(SMALL, checkpoint_path=str(path))
        pretrained = timm.create_model(
            SMALL, pretrained=True, pretrained_cfg_overlay={"file": str(path)}
        )
        for net in (loaded, pretrained):
            assert_equal_bits(net.state_dict(), spec_built.state_dict())
    save_weights(loaded, tmp_path / "timm.safetensors")
    load_weights(tmp_path / "timm.safetensors", back)
    assert_equal_bits(back.state_dict(), spec_built.state_dict())


def test_a_whole_nets_weights_load_without_the_box_head() -> None:
    spec_built, net = pair("article")
    net.load_state_dict({key: value + 1 for key, value in spec_built.state_dict().items()})
    assert torch.equal(net.get_submodule("fc8").weight, spec_built.get_submodule("fc8").weight + 1)
    with pytest.raises(RuntimeError, match="fc9"):
        net.load_state_dict({**spec_built.state_dict(), "fc9.weight": torch.zeros(1)})


def test_the_harness_says_which_weights_a_net_without_box_head_lacks(tmp_path: Path) -> None:
    spec_built, net = pair("article")
    save_weights(net, tmp_path / "timm.safetensors")
    with pytest.raises(WeightsError, match=r"lacks box\.weight, box\.bias"):
        load_weights(tmp_path / "timm.safetensors", spec_built)


def test_pretrained_weights_fit_another_number_of_channels_and_classes(tmp_path: Path) -> None:
    source, path = build(CATALOG["cifar_13pct"].spec), tmp_path / "weights.safetensors"
    save_weights(source, path)
    net = timm.create_model(
        SMALL, pretrained=True, num_classes=5, in_chans=1, pretrained_cfg_overlay={"file": str(path)}
    )
    first, second = (n.get_submodule("conv1").weight for n in (net, source))
    torch.testing.assert_close(first, second.sum(1, keepdim=True))
    assert net(torch.zeros(1, 1, 24, 24)).shape == (1, 5)


def test_a_folder_saved_for_the_hub_gives_the_net_back(tmp_path: Path) -> None:
    net = timm.create_model(SMALL, num_classes=3, img_size=32).eval()
    timm.models.save_for_hf(net, tmp_path)
    back = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = batch(net.spec)
    assert torch.equal(back(x), net(x))
    assert tuple(back.pretrained_cfg["mean"]) == net.pretrained_cfg["mean"]


def pixels(name: str, picture: Image.Image) -> torch.Tensor:
    """What timm's evaluation feeds a row for a picture."""
    with torch.device("meta"):
        config = resolve_model_data_config(timm.create_model(name))
    made = create_transform(**config)(picture)
    assert isinstance(made, torch.Tensor)
    return made


PICTURE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
CENTRE = torch.from_numpy(PICTURE).permute(2, 0, 1)[:, 16:240, 16:240].float()
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 255


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("alexnet_grouped_2gpu", CENTRE - IMAGENET_MEAN),
        (
            "alexnet_one_weird_trick",
            (CENTRE - IMAGENET_MEAN) / (torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255),
        ),
    ],
)
def test_timms_pixels_are_on_the_scale_of_the_rows_recipe(name: str, wanted: torch.Tensor) -> None:
    """A centre crop of an image of 256x256; float32 holds 255 to 1.5e-5 and the division by 1/255 repeats it."""
    torch.testing.assert_close(pixels(name, Image.fromarray(PICTURE)), wanted, rtol=1e-5, atol=1e-4)


def test_raw_pixels_stay_raw_and_227_are_cut_from_256() -> None:
    made = pixels("alexnet_alexnet_bn", Image.fromarray(PICTURE))
    assert made.shape == (3, 227, 227)
    assert float(made.min()) == 0.0
    assert float(made.max()) == pytest.approx(255.0, rel=1e-6)


def test_cifar_nets_are_fed_the_centre_of_32_pixels_less_cifars_mean() -> None:
    picture = np.full((32, 32, 3), 128, dtype=np.uint8)
    made = pixels(SMALL, Image.fromarray(picture))
    assert made.shape == (3, 24, 24)
    torch.testing.assert_close(
        made[:, 0, 0], 128 - torch.tensor([0.4914, 0.4822, 0.4465]) * 255, rtol=1e-5, atol=1e-4
    )
