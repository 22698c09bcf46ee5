"""What a training step is compared with: the same network as others would train it, on the same batch.

torchvision_eager: torchvision's own AlexNet, where it is the network of the run.
torch_eager: else the run's network from torch's stock modules, with LocalResponseNorm over all channels.
Both are in torch's default memory format, float32, with cross entropy and torch.optim.SGD.
torchvision_compile, torch_compile: the same under torch.compile.
timm_benchmark: the run's network by the protocol of timm's benchmark script: a fixed synthetic batch,
timm's optimizer, and a clock that waits for the device at every step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.bench.repeating import as_often_as_fits, finish
from harness.bench.step import WINDOW_S, random_batch
from harness.bench.timing import Way
from harness.loss import COMPILERS
from harness.spec import RunSpec
from variants import layers
from variants.modules.alexnet import build

LR = 1e-4  # any small one: the steps are only timed


def step_peers(
    spec: RunSpec, device: torch.device, *, compiled: bool
) -> tuple[dict[str, Way], dict[str, str]]:
    """The ways of the peers by name, and the reason of each that can't be measured here."""

    def window(step: Callable[[], object]) -> Way:
        return as_often_as_fits(step, WINDOW_S, device, spec.recipe.batch_size)

    name, net = stock_network(spec)
    ways = {f"{name}_eager": window(_step(net, net, _torch_sgd, spec, device))}
    missing: dict[str, str] = {}
    if compiled:
        if device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
            missing[f"{name}_compile"] = "torch.compile needs a C++ compiler here; install g++"
        else:
            fast: Callable[..., Any] = torch.compile(net)
            ways[f"{name}_compile"] = window(_step(net, fast, _torch_sgd, spec, device))
    own = _own_network(spec)
    step = _step(own, own, _timm_sgd, spec, device, lambda: finish(device))
    ways["timm_benchmark"] = window(step)
    return ways, missing


def stock_network(spec: RunSpec) -> tuple[str, nn.Module]:
    """("torchvision", its AlexNet) where that is the run's network, else ("torch", the network from stock
    modules).
    """
    from torchvision.models import alexnet

    if _is_torchvisions(spec):
        return "torchvision", alexnet(num_classes=spec.net.classes)
    net = _own_network(spec)
    for row in spec.net.rows:
        if isinstance(norm := row.layer, layers.LRN):
            # torch divides alpha by the size
            alpha = norm.alpha if norm.divide_by_size else norm.alpha * norm.size
            net.set_submodule(norm.name, nn.LocalResponseNorm(norm.size, alpha, norm.beta, norm.k))
    return "torch", net


def _own_network(spec: RunSpec) -> nn.Module:
    """The run's network in torch's default memory format."""
    return build(spec.net, generator=torch.Generator().manual_seed(spec.seed))


def _is_torchvisions(spec: RunSpec) -> bool:
    """Whether both have the same shapes of weights in the same order, at torchvision's input size."""
    from torchvision.models import alexnet

    with torch.device("meta"):
        theirs = alexnet(num_classes=spec.net.classes)
    shapes = [weight.shape for weight in theirs.parameters()]
    ours = [weight.shape for weight in build(spec.net, device="meta").parameters()]
    norms = any(isinstance(row.layer, layers.LRN) for row in spec.net.rows)
    return shapes == ours and spec.net.input_size == 224 and not norms


def _step(
    net: nn.Module,
    forward: Callable[..., Any],
    optimizer_of: Callable[[nn.Module], torch.optim.Optimizer],
    spec: RunSpec,
    device: torch.device,
    waiting: Callable[[], None] = lambda: None,
) -> Callable[[], object]:
    """One training step. forward: the network, or what torch.compile made of it. waiting: called before
    and after the update.
    """
    net.to(device).train()
    images, labels = (
        each.to(device) for each in random_batch(spec, torch.Generator().manual_seed(spec.seed))
    )
    optimizer, loss_of = optimizer_of(net), nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_of(forward(images), labels).backward()
        waiting()
        optimizer.step()
        waiting()

    return step


def _torch_sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), LR, momentum=0.9, weight_decay=5e-4)


def _timm_sgd(net: nn.Module) -> torch.optim.Optimizer:
    from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

    made: torch.optim.Optimizer = create_optimizer_v2(net, opt="sgd", lr=LR)
    return made
