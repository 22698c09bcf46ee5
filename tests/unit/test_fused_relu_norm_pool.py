"""ReLU, normalisation and pooling as one operation against the three modules: every bit, and when it is not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as every_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from variants.catalog import CATALOG
from variants.geometry import to_mini
from variants.layers import LRN
from variants.modules import fused_relu_norm_pool as fused
from variants.modules.alexnet import AlexNet, build
from variants.modules.lrn import ResponseNorm

pytest.importorskip("numba")

# images, maps, height, width
SHAPES = {
    "even": (3, 24, 8, 10),
    "odd": (3, 24, 7, 9),
    "even and odd": (2, 12, 6, 11),
    "odd and even": (2, 12, 5, 4),
    "one window": (2, 10, 3, 3),
    "one image": (1, 64, 13, 12),
    "more maps than a block": (2, 300, 6, 7),
    "a wide row": (1, 96, 5, 55),
}
NORMS = {
    "5 maps, two columns": LRN(name="n", groups=2),
    "5 maps": LRN(name="n", alpha=1e-2, divide_by_size=True),
    "9 maps": LRN(name="n", size=9, alpha=1e-3, k=1.0),
}
VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda x: x * 30,
    "ties": lambda x: x.round() * 8,
    "zeros of both signs": lambda x: x.round().clamp(-1, 0),
    "equal maps": lambda x: torch.full_like(x, 7.0),
    "tiny": lambda x: x * 1e-25,
    "large": lambda x: x * 1e17,
    "squares beyond float32": lambda x: torch.where(x > 2, 1e25, x),
    "NaN": lambda x: torch.where(x > 2, torch.nan, x),
    "infinite": lambda x: torch.where(x > 2, torch.inf, torch.where(x < -2, -torch.inf, x)),
}


def chain(norm: LRN, *, relu: bool = True, ceil: bool = True) -> list[nn.Module]:
    pool = nn.MaxPool2d(3, 2, ceil_mode=ceil)
    return [*([nn.ReLU()] if relu else []), ResponseNorm(norm), pool]


def images(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def one_by_one(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def at_once(layers: list[nn.Module], x: Tensor) -> Tensor:
    made, end = fused.run(layers, x, 0)
    assert end == len(layers)
    return made


def out_and_grad(made_by: Callable[..., Tensor], layers: list[nn.Module], x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = made_by(layers, x)
    above = images(tuple(out.shape), seed=2)
    return [out.detach(), *torch.autograd.grad(out, x, above.where(above < 1.5, 0.0))]


def assert_equal_bits(one: Tensor, other: Tensor) -> None:
    """NaN equals NaN: its bits are the processor's choice. The layout is compared, too."""
    assert one.stride() == other.stride()
    assert torch.equal(one.isnan(), other.isnan())
    whole = [tensor.nan_to_num(0.0, torch.inf, -torch.inf) for tensor in (one, other)]
    assert torch.equal(*(tensor.contiguous().view(torch.int32) for tensor in whole))


def compare(layers: list[nn.Module], x: Tensor) -> None:
    for one, other in zip(
        out_and_grad(at_once, layers, x), out_and_grad(one_by_one, layers, x), strict=True
    ):
        assert_equal_bits(one, other)


@pytest.mark.parametrize("ceil", [True, False], ids=["ceil", "floor"])
@pytest.mark.parametrize("relu", [True, False], ids=["relu", "no relu"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_bit_is_the_modules(shape: str, norm: str, relu: bool, ceil: bool) -> None:
    compare(chain(NORMS[norm], relu=relu, ceil=ceil), images(SHAPES[shape]) * 30)


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "no relu"])
@pytest.mark.parametrize("values", VALUES)
def test_every_bit_is_the_modules_for_special_values(values: str, relu: bool) -> None:
    for shape in ("even", "odd", "one image"):
        compare(chain(NORMS["5 maps, two columns"], relu=relu), VALUES[values](images(SHAPES[shape])))


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "NaN": lambda above: torch.where(above > 1, torch.nan, above),
    "infinite": lambda above: torch.where(above > 1, torch.inf, above),
    "products beyond float32": lambda above: torch.where(above > 1, 3e38, above),
}


@pytest.mark.parametrize("relu", [True, False], ids=["relu", "no relu"])
@pytest.mark.parametrize("values", GRADIENTS)
def test_extreme_gradients_arrive_as_through_the_modules(values: str, relu: bool) -> None:
    for shape in ("even", "odd", "one image"):
        layers, grads = chain(NORMS["5 maps, two columns"], relu=relu), []
        x = images(SHAPES[shape]).requires_grad_()
        for made_by in (at_once, one_by_one):
            out = made_by(layers, x)
            grads += torch.autograd.grad(out, x, GRADIENTS[values](images(tuple(out.shape), seed=2)))
        assert_equal_bits(*grads)


def test_gradients_that_underflow_keep_the_sign_of_zero() -> None:
    """All maps are equal, so a pixel gets the gradients of all of its maps or none."""
    layers, grads = chain(NORMS["5 maps, two columns"]), []
    x = (images((40, 1, 7, 9)) * 300).expand(-1, 24, -1, -1)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    for made_by in (at_once, one_by_one):
        out = made_by(layers, x)
        grads += torch.autograd.grad(out, x, torch.full_like(out, -1e-45))
    assert grads[0].signbit().any()
    assert_equal_bits(*grads)


def test_a_gradient_of_another_layout_is_taken() -> None:
    layers, x = chain(NORMS["5 maps"]), images(SHAPES["odd"]).requires_grad_()
    out = at_once(layers, x)
    above = images(tuple(out.shape), seed=2)
    same = torch.ones(()).expand(out.shape)  # as a sum's gradient: one number in memory
    for given, dense in ((above.contiguous(), above), (same, torch.ones_like(out))):
        grads = [torch.autograd.grad(out, x, grad, retain_graph=True)[0] for grad in (given, dense)]
        assert_equal_bits(*grads)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_bit_is_the_modules_for_any_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        compare(chain(NORMS["5 maps, two columns"]), images((13, 24, 31, 32)) * 30)
    finally:
        torch.set_num_threads(before)


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    x = images(SHAPES["odd"]).requires_grad_()
    out = at_once(chain(NORMS["5 maps"]), x)
    (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        grad.sum().backward()


# of opcheck itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("relu", [True, False])
def test_the_operations_keep_their_promises_to_torch(relu: bool) -> None:
    """Schema, results on the meta device, autograd registration and tracing, with a dynamic batch."""
    x, settings = images(SHAPES["odd"]), (relu, 5, 2, 1e-4, 2.0, True)
    operations = torch.ops.alexnet_harness
    torch.library.opcheck(operations.relu_norm_pool.default, (x.clone().requires_grad_(), *settings))
    out, places = operations.relu_norm_pool.default(x, *settings)
    torch.library.opcheck(
        operations.relu_norm_pool_backward.default, (x, torch.ones_like(out), places, *settings)
    )


def test_only_x_and_a_byte_for_each_output_are_saved() -> None:
    saved: list[Tensor] = []
    x = images(SHAPES["even"]).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        out = at_once(chain(NORMS["5 maps"]), x)
    assert saved[0].data_ptr() == x.data_ptr()
    assert [(tensor.dtype, tensor.shape) for tensor in saved[1:]] == [(torch.uint8, out.shape)]


REFUSED: dict[str, tuple[list[nn.Module], Tensor]] = {
    "half precision": (chain(NORMS["5 maps"]), images(SHAPES["odd"]).bfloat16()),
    "float64": (chain(NORMS["5 maps"]), images(SHAPES["odd"]).double()),
    "contiguous": (chain(NORMS["5 maps"]), images(SHAPES["odd"]).contiguous()),
    "no image": (chain(NORMS["5 maps"]), images(SHAPES["odd"])[:0]),
    "smaller than a window": (chain(NORMS["5 maps"]), images((2, 12, 2, 2))),
    "fewer maps than the norm's window": (chain(NORMS["5 maps"]), images((2, 4, 5, 5))),
    "another power": (chain(LRN(name="n", beta=0.5)), images(SHAPES["odd"])),
    "k of 0": (chain(LRN(name="n", k=0.0)), images(SHAPES["odd"])),
    "windows that don't overlap": (
        [ResponseNorm(NORMS["5 maps"]), nn.MaxPool2d(2, 2)],
        images(SHAPES["odd"]),
    ),
    "padding": ([ResponseNorm(NORMS["5 maps"]), nn.MaxPool2d(3, 2, 1)], images(SHAPES["odd"])),
    "dilation": (
        [ResponseNorm(NORMS["5 maps"]), nn.MaxPool2d(3, 2, dilation=2)],
        images(SHAPES["odd"]),
    ),
    "average": ([ResponseNorm(NORMS["5 maps"]), nn.AvgPool2d(3, 2)], images(SHAPES["odd"])),
    "another activation": ([nn.ReLU6(), *chain(NORMS["5 maps"], relu=False)], images(SHAPES["odd"])),
    "no pooling": ([nn.ReLU(), ResponseNorm(NORMS["5 maps"])], images(SHAPES["odd"])),
    "a subclass": (chain(NORMS["5 maps"]), nn.Parameter(images(SHAPES["odd"]))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_kernels_cannot_do_is_left_to_the_modules(name: str) -> None:
    layers, x = REFUSED[name]
    made, end = fused.run(layers, x, 0)
    assert end == 1
    wanted = layers[0](x)
    assert torch.equal(made, wanted)


# ------------------------------------------------------------------------------------------------ whole nets


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
