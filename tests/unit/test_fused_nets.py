"""ReLU, normalisation and pooling as one operation in whole nets, and where something looks between the modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fused_cases import images, one_by_one
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as every_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from variants.catalog import CATALOG
from variants.geometry import to_mini
from variants.modules import fused_relu_norm_pool as fused
from variants.modules.alexnet import AlexNet, build
from variants.modules.lrn import ResponseNorm

pytest.importorskip("numba")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations in the order in which they ran: their direction, and whether without a ReLU."""
    made: list[str] = []

    def watched(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            made.append(name if given[-1].relu else f"{name} without ReLU")
            return function(*given)

        return call

    for name in ("forward", "backward"):
        monkeypatch.setattr(fused, name, watched(name, getattr(fused, name)))
    return made


def mini(name: str = "grouped_2gpu") -> tuple[AlexNet, Tensor, Tensor]:
    row = CATALOG[name]
    spec = to_mini(row.spec) if "mini" in row.geometries else row.spec
    net = build(spec, generator=torch.Generator().manual_seed(3)).to(memory_format=torch.channels_last)
    side = net.spec.input_size
    return net, images((8, 3, side, side)) * 50, torch.arange(8) % 10


def step(net: AlexNet, x: Tensor, y: Tensor) -> list[Tensor]:
    """Loss and gradients, in the order of the parameters."""
    torch.manual_seed(4)  # dropout
    net.zero_grad()
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


OPERATIONS: dict[str, list[str]] = {
    "grouped_2gpu": ["forward", "forward", "backward", "backward"],  # for both of its norms
    "code_2012": ["forward without ReLU", "backward without ReLU"],  # its pool1 is before relu1
    "tanh": ["forward without ReLU"] * 2 + ["backward without ReLU"] * 2,
    "cifar_13pct_lrn9": ["forward", "backward"],
    "no_lrn": [],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_step_has_the_bits_of_a_step_by_modules(
    name: str, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x, y = mini(name)
    one = step(net, x, y)
    assert calls == OPERATIONS[name]
    monkeypatch.setattr(fused, "_settings", lambda *given: None)
    other = step(net, x, y)
    assert calls == OPERATIONS[name]
    assert len(one) == len(other) == 1 + len(list(net.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_takes_the_operation_and_saves_nothing(mode: Any, calls: list[str]) -> None:
    net, x, _ = mini()
    net.eval()
    trained = net(x)
    assert trained.grad_fn is not None
    saved: list[Tensor] = []
    with (
        mode(),
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),  # type: ignore[func-returns-value]
    ):
        assert torch.equal(net(x), trained)
    assert saved == []
    assert calls == ["forward"] * 4


def test_layers_and_state_keep_their_names() -> None:
    net, *_ = mini()
    assert [name for name, _ in net.named_children()] == [layer.name for layer in net.spec.layers]
    assert all(name.partition(".")[2] in ("weight", "bias") for name in net.state_dict())


def _nothing(*given: Any) -> None:
    return None


HOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "forward": lambda module: module.register_forward_hook(_nothing),
    "before forward": lambda module: module.register_forward_pre_hook(_nothing),
    "backward": lambda module: module.register_full_backward_hook(_nothing),
    "before backward": lambda module: module.register_full_backward_pre_hook(_nothing),
}


BESIDE = {
    "conv1": ["forward without ReLU"],
    "relu1": ["forward without ReLU"],
    "norm1": [],
    "pool1": [],
}


@pytest.mark.parametrize("layer", BESIDE)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_turns_the_operation_off_where_it_looks(hook: str, layer: str, calls: list[str]) -> None:
    net, x, y = mini()
    net.relu1.inplace = False  # torch refuses backward hooks at a ReLU in place
    handle = HOOKS[hook](net.get_submodule(layer))
    net(x)
    # of the second norm; and of the first one without the ReLU if the hook looks at that
    assert calls == [*BESIDE[layer], "forward"]
    calls.clear()
    handle.remove()
    step(net, x, y)
    assert calls == ["forward", "forward", "backward", "backward"]


def test_a_hook_gets_the_maps_that_it_always_got() -> None:
    net, x, _ = mini()
    relu = F.relu(net.conv1(x))
    normal = net.norm1(relu)
    seen: dict[str, Tensor] = {}
    for name in ("conv1", "relu1", "norm1", "pool1"):
        net.get_submodule(name).register_forward_hook(
            lambda module, given, made, name=name: seen.update({name: made})
        )
    net(x)
    assert torch.equal(seen["conv1"], relu)  # the ReLU works in place
    assert torch.equal(seen["relu1"], relu)
    assert torch.equal(seen["norm1"], normal)
    assert torch.equal(seen["pool1"], F.max_pool2d(normal, 3, 2, ceil_mode=True))


GLOBAL_HOOKS = (
    every_module.register_module_forward_hook,
    every_module.register_module_forward_pre_hook,
    every_module.register_module_full_backward_hook,
    every_module.register_module_full_backward_pre_hook,
)


@pytest.mark.parametrize("register", GLOBAL_HOOKS)
def test_a_hook_of_all_modules_turns_the_operation_off(register: Any, calls: list[str]) -> None:
    net, x, _ = mini()
    for layer in net.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # torch refuses backward hooks before a layer in place
    handle = register(_nothing)
    try:
        net(x)
    finally:
        handle.remove()
    assert calls == []


class _SeesFunctions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class _SeesOperations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [_SeesFunctions, _SeesOperations])
def test_a_mode_that_sees_operations_sees_those_of_the_modules(mode: Any, calls: list[str]) -> None:
    net, x, _ = mini()
    with mode():
        net(x)
    assert calls == []


class _OtherPool(nn.MaxPool2d):
    pass


@pytest.mark.parametrize("layer", ["relu1", "norm1", "pool1"])
def test_a_replaced_layer_is_called(layer: str, calls: list[str]) -> None:
    net, x, _ = mini()
    there = net.get_submodule(layer)
    forward = there.forward
    there.forward = lambda x: forward(x)
    net(x)
    assert calls == [*BESIDE[layer], "forward"]
    calls.clear()
    del there.forward
    net.pool1 = _OtherPool(3, 2, ceil_mode=True)
    net(x)
    assert calls == ["forward"]


def test_changed_settings_of_a_layer_are_used(calls: list[str]) -> None:
    net, x, _ = mini()
    net.eval()
    layers = [net.conv1, net.relu1, net.norm1, net.pool1]
    norm = net.get_submodule("norm1")
    assert isinstance(norm, ResponseNorm)
    norm.k, norm.groups, norm.scale = 1.0, 1, 1e-2
    made, end = fused.run(layers, layers[0](x), 1)
    assert calls == ["forward"]
    assert end == 4
    assert torch.equal(made, one_by_one(layers, x))


def test_torch_fx_sees_every_layer(calls: list[str]) -> None:
    net, x, _ = mini()
    net.eval()
    traced = torch.fx.symbolic_trace(net)
    seen = [str(node.target) for node in traced.graph.nodes]
    assert {"relu1", "pool1", "relu2", "pool2"} <= set(seen)
    assert sum("response_norm" in target for target in seen) == 2
    assert calls == []
    assert torch.equal(traced(x), net(x))


@pytest.mark.filterwarnings("ignore")
def test_torch_export_and_jit_see_operations_of_torch(calls: list[str]) -> None:
    net, x, _ = mini()
    net.eval()
    torch.export.export(net, (x,), strict=False)
    torch.jit.trace(net, x, check_trace=False)  # type: ignore[no-untyped-call]
    assert calls == []
