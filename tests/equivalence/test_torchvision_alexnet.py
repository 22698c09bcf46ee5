"""`one_weird_trick` is torchvision's alexnet, layer for layer and bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet

from variants.catalog import CATALOG
from variants.modules.alexnet import AlexNet, build
from variants.weights import load_weights

SPEC = CATALOG["one_weird_trick"].spec


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, AlexNet]:
    torch.manual_seed(0)
    theirs = alexnet(weights=None)
    file = tmp_path_factory.mktemp("weights") / "torchvision.pt"
    torch.save(theirs.state_dict(), file)
    ours = build(SPEC, generator=torch.Generator().manual_seed(1))
    load_weights(Path(file), ours)
    return theirs, ours


def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))


def test_scores_are_the_same_bits(pair: tuple[nn.Module, AlexNet]) -> None:
    theirs, ours = (net.eval() for net in pair)
    with torch.no_grad():
        assert torch.equal(ours(images()), theirs(images()))


def test_training_pass_with_dropout_has_the_same_bits_and_gradients(
    pair: tuple[nn.Module, AlexNet],
) -> None:
    results = []
    for net in pair:
        net.train().zero_grad()
        torch.manual_seed(3)
        scores = net(images())
        nn.functional.cross_entropy(scores, torch.tensor([1, 2])).backward()
        results.append([scores.detach(), *(p.grad for p in net.parameters())])
    theirs, ours = results
    assert len(theirs) == len(ours) == 17
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))  # type: ignore[arg-type]


def test_start_is_torchs_own() -> None:
    """torchvision keeps torch's default start, uniform in +-1/sqrt(fan-in), biases too."""
    assert {layer.init.scheme for layer in SPEC.layers if hasattr(layer, "init")} == {"torch"}
