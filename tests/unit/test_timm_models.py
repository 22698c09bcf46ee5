"""Every catalogue row keeps the promises that timm's own test suite asks of a model.

Shapes and names are checked for each row on the meta device, which computes nothing; numbers on the small form of each
distinct net.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg, group_parameters
from torch import nn

from variants import timm_models
from variants.catalog import CATALOG
from variants.layers import Dropout
from variants.modules.alexnet import build
from variants.recipes import RECIPES, apply
from variants.timm_support.adapter import TimmAlexNet

NAMES = [f"alexnet_{row}" for row in CATALOG]
META = torch.device("meta")
SMALL = "alexnet_cifar_13pct"


def images(net: nn.Module, count: int = 1) -> torch.Tensor:
    return torch.zeros((count, *net.pretrained_cfg["input_size"]), device=META)  # type: ignore[arg-type, index]


def create(name: str, **keywords: object) -> TimmAlexNet:
    net = timm.create_model(name, device=META, **keywords).eval()
    assert isinstance(net, TimmAlexNet)
    return net


def test_every_row_is_registered_under_its_own_name() -> None:
    assert set(NAMES) <= set(timm.list_models("alexnet_*"))
    assert timm.model_entrypoint("alexnet_no_lrn").__name__ == "alexnet_no_lrn"
    assert set(timm.list_models(module="timm_models", name_matches_cfg=True)) == set(NAMES)
    assert set(timm.list_models(module="timm_models")) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_net_has_the_layers_and_the_parameter_names_of_its_spec(name: str) -> None:
    row = CATALOG[name.removeprefix("alexnet_")]
    net = create(name, box=True)
    assert net.spec == row.spec
    wanted = build(row.spec, device=META).state_dict()
    assert {key: value.shape for key, value in net.state_dict().items()} == {
        key: value.shape for key, value in wanted.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_maps_head_and_classifier_have_the_sizes_that_are_stated(name: str) -> None:
    net = create(name)
    cfg = net.pretrained_cfg
    maps = net.forward_features(images(net))
    assert maps.shape == (1, net.num_features, *cfg["pool_size"])
    features = net.forward_head(maps, pre_logits=True)
    assert features.shape == (1, net.head_hidden_size)
    assert net(images(net)).shape == (1, net.num_classes) == (1, cfg["num_classes"])
    assert net.in_chans == cfg["input_size"][0]
    named = net.state_dict()
    assert named[f"{cfg['classifier']}.weight"].shape[0] == cfg["num_classes"]
    assert f"{cfg['first_conv']}.weight" in named
    assert net.get_classifier() is net.get_submodule(cfg["classifier"])
    for headless in (create(name, num_classes=0), net):
        headless.reset_classifier(0)
        assert headless.num_classes == 0
        assert headless(images(net)).shape == features.shape
    for mapped in (create(name, num_classes=0, global_pool=""), net):
        mapped.reset_classifier(0, "")
        assert mapped(images(net)).shape == maps.shape
        assert mapped.head_hidden_size == maps.shape[1]
    net.reset_classifier(7)
    assert net(images(net)).shape == (1, 7)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_divided_by_a_deviation_only_where_the_rows_recipe_does(name: str) -> None:
    row = CATALOG[name.removeprefix("alexnet_")]
    pixels = apply(RECIPES[row.recipe].recipe, row.recipe_changes).pixels
    config = resolve_model_data_config(create(name))
    assert config["input_size"] == (3, row.spec.input_size, row.spec.input_size)
    assert (config["std"] == (1 / 255, 1 / 255, 1 / 255)) is not pixels.divide_by_std
    assert (config["mean"] == (0.0, 0.0, 0.0)) is (pixels.mean == "none")
    assert config["interpolation"] == "bilinear"


@pytest.mark.parametrize("name", NAMES)
def test_features_only_gives_the_maps_that_feature_info_describes(name: str) -> None:
    for wrapper in ({}, {"feature_cls": "getter"}):
        net = timm.create_model(name, features_only=True, device=META, **wrapper).eval()
        size = net.pretrained_cfg["input_size"][1]
        made = net(images(net))
        assert [maps.shape[1] for maps in made] == net.feature_info.channels()
        assert len(made) >= 3
        for maps, reduction in zip(made, net.feature_info.reduction(), strict=True):
            assert size / (2 * reduction) < maps.shape[2] <= -(-size // reduction) + 1
    net = create(name)
    last, maps = net.forward_intermediates(images(net))
    assert [m.shape for m in maps] == [m.shape for m in made]
    assert last.shape == maps[-1].shape


@pytest.mark.parametrize("name", NAMES)
def test_parameter_groups_run_from_the_image_to_the_scores(name: str) -> None:
    net = create(name)
    numbers = [
        group_parameters(net, net.group_matcher(coarse), reverse=True) for coarse in (False, True)
    ]
    for of in numbers:
        order = [of[parameter] for parameter, _ in net.named_parameters()]
        assert order == sorted(order)
        assert len(set(order)) > 1
    assert len(set(numbers[1].values())) <= len(set(numbers[0].values()))


@pytest.mark.parametrize(
    "name", [SMALL, "alexnet_article", "alexnet_one_weird_trick", "alexnet_no_fc6_fc7"]
)
def test_a_pruned_net_ends_with_the_map_that_was_kept(name: str) -> None:
    for index in range(len(create(name).feature_info)):
        net = create(name, box=True)
        wanted = net.forward_intermediates(images(net), indices=[index], intermediates_only=True)
        assert net.prune_intermediate_layers([index]) == [index]
        pruned = net.forward_intermediates(
            images(net), indices=[index], intermediates_only=True, stop_early=True
        )
        assert [m.shape for m in pruned] == [m.shape for m in wanted]
        assert net(images(net)).shape == wanted[0].shape
        assert net.num_features == wanted[0].shape[1]
        net.reset_classifier(5)
        assert net(images(net)).shape == (1, 5)


@pytest.mark.parametrize("name", [SMALL, "alexnet_article"])
def test_a_fresh_classifier_takes_device_type_and_mode_from_the_net_and_leaves_frozen_layers_frozen(
    name: str,
) -> None:
    net = create(name).to(torch.float64).requires_grad_(False).train()
    net.reset_classifier(0, "")
    assert not any(parameter.requires_grad for parameter in net.parameters())
    net.reset_classifier(2)
    assert {(parameter.device, parameter.dtype) for parameter in net.parameters()} == {
        (META, torch.float64)
    }
    assert all(module.training for module in net.modules())


def test_a_fresh_classifier_starts_as_the_row_says() -> None:
    net = timm.create_model("alexnet_owt_2014", device="cpu", num_classes=0)
    net.reset_classifier(3)
    assert net.get_classifier().bias.tolist() == [-7.0] * 3
    # 12,288 draws of N(0, .01): +-0.6 %
    assert 0.0095 < float(net.get_classifier().weight.detach().std()) < 0.0105


@pytest.mark.parametrize("size", [0, 1])
def test_classes_channels_size_device_and_type_can_be_chosen(size: int) -> None:
    net = timm.create_model(
        SMALL,
        num_classes=7,
        in_chans=1,
        dtype=torch.bfloat16,
        device="cpu",
        img_size=(32, 32) if size else None,
    )
    side = 32 if size else 24
    made = net(torch.zeros(2, 1, side, side, dtype=torch.bfloat16))
    assert made.shape == (2, 7)
    assert made.dtype == torch.bfloat16


def test_the_default_device_is_kept() -> None:
    with META:
        assert next(timm.create_model(SMALL).parameters()).device == META


def test_without_a_dropout_rate_of_the_users_the_row_keeps_its_own() -> None:
    def rates(net: nn.Module) -> list[float]:
        return [module.p for module in net.modules() if isinstance(module, nn.Dropout)]

    for zero in ({}, {"drop_rate": None}, {"drop_rate": 0.0}):
        net = create("alexnet_grouped_2gpu", **zero)
        assert rates(net) == [0.5, 0.5]
        assert net.drop_rate == 0.5
    net = create("alexnet_grouped_2gpu", drop_rate=0.2)
    assert rates(net) == [0.2, 0.2]
    assert [layer.p for layer in net.spec.layers if isinstance(layer, Dropout)] == [0.2, 0.2]
    assert create("alexnet_no_dropout", drop_rate=0.0).drop_rate == 0.0


@pytest.mark.parametrize(
    ("name", "keywords", "error", "said"),
    [
        (SMALL, {"lrn": False}, TypeError, "'lrn'"),
        (SMALL, {"drop_path_rate": 0.1}, TypeError, "'drop_path_rate'"),
        ("alexnet_no_dropout", {"drop_rate": 0.3}, ValueError, "this net has no dropout"),
        (SMALL, {"global_pool": "max"}, ValueError, "another net"),
        (SMALL, {"global_pool": "avg"}, ValueError, "another net"),
        (SMALL, {"global_pool": ""}, ValueError, "num_classes=0"),
        (SMALL, {"img_size": (24, 32)}, ValueError, "square"),
        (SMALL, {"pretrained": True}, RuntimeError, f"No pretrained weights exist for {SMALL}"),
    ],
)
def test_what_would_be_another_net_is_refused_rather_than_ignored(
    name: str, keywords: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        timm.create_model(name, device=META, **keywords)


def test_average_pooling_is_accepted_where_the_row_averages() -> None:
    assert create("alexnet_article", global_pool="avg").global_pool == "avg"
    assert create("alexnet_global_average_pool").global_pool == "avg"


@pytest.mark.parametrize("name", NAMES)
def test_a_net_that_says_its_size_is_free_takes_another(name: str) -> None:
    net = create(name)
    if get_pretrained_cfg(name).fixed_input_size:
        bigger = create(name, img_size=net.spec.input_size + 32)
        assert bigger(torch.zeros(1, 3, *[net.spec.input_size + 32] * 2, device=META)).shape == (
            1,
            net.num_classes,
        )
    else:
        assert net(torch.zeros(1, 3, 160, 160, device=META)).shape == (1, net.num_classes)


def test_timms_scripts_find_the_names_through_the_module(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, timm, helper\nprint(timm.is_model(sys.argv[1]), __name__, sys.argv[0], helper.ONE)\n"
    )
    (tmp_path / "helper.py").write_text("ONE = 1\n")
    command = [sys.executable, "-m", "variants.timm_models", str(script), "alexnet_no_lrn"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == (f"True __main__ {script} 1\n", 0), ran.stderr


@pytest.mark.parametrize("arguments", [[], ["nowhere/train.py"]])
def test_a_missing_script_is_one_sentence(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"use: python -m variants.timm_models path/to/train.py"):
        timm_models.run_script(arguments)
