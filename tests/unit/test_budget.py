"""How many operations and bytes response normalisation, update and pixels cost: counted, and held to a budget.

On a GPU an operation is at least one kernel launch, and these parts are bound by memory. A pass is one reading or
writing of a tensor of the full size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_training import recipe
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.data.augment.transforms import ImageTransform
from harness.data.base import Batch
from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.manifest import StoreSettings
from harness.optim import make_optimizer
from variants.layers import LRN
from variants.modules import lrn_torch
from variants.modules.lrn import ResponseNorm
from variants.recipes.recipe import Augmentation

# its schema says so; it unscales gradients only if it is given grad_scale
NOT_WRITTEN = {("_fused_sgd_", "grads")}


class Costs(TorchDispatchMode):
    """Counts operations, and the bytes that they read and write; views and allocations are free."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if func.is_view or name.startswith(("empty", "detach", "profiler::")):
            return made
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        changed = [
            leaf
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None
            and argument.alias_info.is_write
            and (name, argument.name) not in NOT_WRITTEN
            for leaf in tree_leaves(value)
            if isinstance(leaf, Tensor)
        ]
        known = {id(leaf) for leaf in given}
        fresh = [
            leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor) and id(leaf) not in known
        ]
        self.operations.append(name)
        self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in (*given, *changed, *fresh))
        return made


def cost_of(work: Callable[[], Any]) -> Costs:
    with Costs() as costs:
        work()
    return costs


# ------------------------------------------------------------------------------ response normalisation

NORM = LRN(name="n", groups=2)
MAPS = torch.empty(128, 96, 55, 55, device="meta")  # conv1's output at full size


def test_a_norm_is_one_operation_each_way_and_five_passes() -> None:
    """What the compiled kernels of CPU and GPU get. Forward reads x, writes y; backward reads x and g, writes one."""
    x = MAPS.clone().requires_grad_()
    costs = cost_of(lambda: torch.autograd.grad(ResponseNorm(NORM)(x), x, MAPS))
    assert [name.partition("::")[2] for name in costs.operations] == [
        "response_norm",
        "response_norm_backward",
    ]
    assert costs.bytes == 5 * x.numel() * 4


def test_a_norm_by_torchs_operations_stays_within_its_budget() -> None:
    """For a window of 5 in two columns; `+=` on a slice would copy each of the 24 sums onto itself, too."""
    window = lrn_torch.across_maps(MAPS, 5, 2)
    forward = cost_of(lambda: lrn_torch.forward(MAPS, window, 1e-4, 0.75, 2.0))
    backward = cost_of(lambda: lrn_torch.backward(MAPS, MAPS, window, 1e-4, 0.75, 2.0))
    assert "copy_" not in forward.operations
    assert [len(costs.operations) for costs in (forward, backward)] == [16, 29]
    passes = [costs.bytes / (MAPS.numel() * 4) for costs in (forward, backward)]
    assert passes == [29.625, 56.25]


# ------------------------------------------------------------------------------ update

SHAPES = [(24, 3, 5, 5), (24,), (64, 96), (64,)]


@pytest.mark.parametrize(
    ("fused", "inside", "operations", "passes"),
    [(False, True, 4, 11), (True, True, 1, 5), (True, False, 1, 5)],
    ids=["paper", "paper, fused", "torch, fused"],
)
def test_an_update_stays_within_its_budget(
    fused: bool, inside: bool, operations: int, passes: int
) -> None:
    weights = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    named = [(f"conv1.{n}", weight) for n, weight in enumerate(weights)]
    rules = recipe(fused_update=fused, lr_inside_velocity=inside)
    optimizer = make_optimizer(named, rules, lambda name: ("conv1", "conv", "weight"))
    optimizer.step()  # makes the velocities
    costs = cost_of(optimizer.step)
    assert len(costs.operations) == operations
    assert costs.bytes == passes * sum(weight.numel() for weight in weights) * 4


# ------------------------------------------------------------------------------ pixels


@pytest.mark.parametrize(("noise", "operations", "passes"), [(0.0, 3, 5.25), (0.1, 4, 7.25)])
def test_the_pixels_stay_within_their_budget(noise: float, operations: int, passes: float) -> None:
    """uint8 to float32, minus the mean, plus noise, and the change of layout; a quarter pass is the uint8."""
    rules = recipe(augmentation=Augmentation(colour_std=noise))
    pixels = ImageTransform(
        prepare_synthetic(StoreSettings(store_size=36, limit=(64, 8))),
        rules,
        32,
        0,
        torch.device("cpu"),
    )
    images = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    batch = Batch(images, torch.zeros(64, dtype=torch.int64), torch.arange(64))
    costs = cost_of(lambda: pixels.train(batch, 0).contiguous(memory_format=torch.channels_last))
    assert len(costs.operations) == operations, costs.operations
    small = 3 * 32 * 32 * 4 + 64 * 3 * 4  # the mean image and the noise
    assert passes * images.numel() * 4 <= costs.bytes <= passes * images.numel() * 4 + small
