"""ReLU, normalisation and pooling as one operation against the three modules: every bit, and when it is not used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fused_cases import NORMS, chain, images, one_by_one
from torch import Tensor, nn

from variants.layers import LRN
from variants.modules import fused_relu_norm_pool as fused
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
