"""Every row of the catalogue builds, with its arithmetic parameter count, and learns a batch by heart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.modules.alexnet import AlexNet, build
from variants.spec import AlexNetSpec

MOST_STEPS = 120  # tanh, the slowest row, needs about 40


def nets_in_mini() -> dict[str, AlexNetSpec]:
    """Each distinct net once, under the first row's name: rows that change only the recipe share one."""
    distinct: dict[AlexNetSpec, str] = {}
    for name, row in CATALOG.items():
        distinct.setdefault(spec_for(row, "mini" if "mini" in row.geometries else "cifar", 10), name)
    return {name: spec for spec, name in distinct.items()}


@pytest.mark.parametrize("name", CATALOG)
def test_row_builds_at_full_size_with_its_arithmetic_parameter_count(name: str) -> None:
    spec = CATALOG[name].spec
    net = build(spec, device="meta")
    assert sum(parameter.numel() for parameter in net.parameters()) == spec.parameters


def batch(side: int) -> tuple[Tensor, Tensor]:
    """Eight images of 4x4 coloured blocks on a centred 0-255 scale, each a class of its own."""
    blocks = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 60
    images = F.interpolate(blocks, size=side, mode="nearest")
    return images.contiguous(memory_format=torch.channels_last), torch.arange(8)


def without_dropout(net: AlexNet) -> AlexNet:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.mark.parametrize(("name", "spec"), nets_in_mini().items(), ids=nets_in_mini())
def test_row_trains_and_overfits_a_batch_of_8(name: str, spec: AlexNetSpec) -> None:
    net = without_dropout(build(spec, generator=torch.Generator().manual_seed(1)))
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = batch(spec.input_size)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-4)
    right = 0
    for step in range(MOST_STEPS):
        scores = net(images)
        right = int((scores.argmax(1) == labels).sum())
        if right == len(labels) and step >= 2:
            break
        optimiser.zero_grad()
        F.cross_entropy(scores, labels).backward()
        optimiser.step()
        for key, parameter in net.named_parameters():
            if not key.startswith("box."):  # no boxes here to learn from
                assert parameter.grad is not None, key
                assert parameter.grad.isfinite().all(), key
    assert right == len(labels)
