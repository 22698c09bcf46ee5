"""Every catalogue row is a timm model."""

from __future__ import annotations

import pytest
import timm
import torch

from variants import timm_models  # noqa: F401  # importing registers
from variants.catalog import CATALOG


def test_every_row_is_registered_under_its_own_name() -> None:
    assert {f"alexnet_{name}" for name in CATALOG} <= set(timm.list_models("alexnet_*"))
    assert timm.model_entrypoint("alexnet_no_lrn").__name__ == "alexnet_no_lrn"
    assert set(timm.list_models(module="timm_models")) == {f"alexnet_{name}" for name in CATALOG}


@pytest.mark.parametrize("name", ["cifar_13pct", "cifar_11pct"])
def test_names_build_their_own_row(name: str) -> None:
    net = timm.create_model(f"alexnet_{name}")
    assert net.spec == CATALOG[name].spec
    assert sum(parameter.numel() for parameter in net.parameters()) == CATALOG[name].spec.parameters


def test_classes_and_channels_can_be_chosen() -> None:
    net = timm.create_model("alexnet_cifar_13pct", pretrained=False, num_classes=7, in_chans=1)
    side = net.spec.input_size
    assert net(torch.zeros(2, 1, side, side)).shape == (2, 7)
    assert net.num_classes == 7


def test_pretrained_weights_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match="alexnet_cifar_13pct comes without weights"):
        timm.create_model("alexnet_cifar_13pct", pretrained=True)


def test_a_delta_as_keyword_is_refused_rather_than_dropped() -> None:
    with pytest.raises(TypeError, match="not lrn"):
        timm.create_model("alexnet_cifar_13pct", lrn=False)
