"""Response normalisation against its written formulas, by plain loops in float64."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from variants.layers import LRN, SpatialLRN
from variants.modules import lrn, lrn_kernels_across, lrn_kernels_within, lrn_torch, numba_kernels
from variants.modules.lrn import ResponseNorm, SpatialResponseNorm

EXACT = 1e-14  # float64 has 2e-16; sums of up to 25 squares and one power stay well below
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def images(
    channels: int, std: float = 30.0, side: int = 4, dtype: torch.dtype = torch.float64
) -> Tensor:
    return (
        torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(7), dtype=dtype)
        * std
    )


def by_loop(x: Tensor, size: int, per_term: float, beta: float, k: float, groups: int = 1) -> Tensor:
    """x_i / (k + per_term * sum_{j = i - size//2}^{i + size//2} x_j^2)^beta, j within i's group of maps."""
    width = x.shape[1] // groups
    made = torch.empty_like(x)
    for i in range(x.shape[1]):
        first = i // width * width
        low, high = max(first, i - size // 2), min(first + width, i + size // 2 + 1)
        made[:, i] = x[:, i] / (k + per_term * x[:, low:high].square().sum(1)) ** beta
    return made


SETTINGS = {
    "paper, sec. 3.3": (LRN(name="n", size=5, alpha=1e-4, beta=0.75, k=2.0), 1e-4),
    "2012 code, layers-145": (
        LRN(name="n", size=5, alpha=1e-4, beta=0.75, k=2.0, divide_by_size=True),
        2e-5,
    ),
    "Caffe": (LRN(name="n", size=5, alpha=1e-4, beta=0.75, k=1.0, divide_by_size=True), 2e-5),
    "CIFAR 11 %": (LRN(name="n", size=9, alpha=1e-3, beta=0.75, k=1.0, divide_by_size=True), 1e-3 / 9),
    "another power": (LRN(name="n", size=3, alpha=1e-2, beta=0.5, k=1.5), 1e-2),
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("name", SETTINGS)
def test_norm_is_its_written_formula(name: str, layout: torch.memory_format) -> None:
    layer, per_term = SETTINGS[name]
    x = images(12).contiguous(memory_format=layout)
    wanted = by_loop(x, layer.size, per_term, layer.beta, layer.k)
    torch.testing.assert_close(ResponseNorm(layer)(x), wanted, rtol=EXACT, atol=0)


def test_paper_and_code_differ_by_half_at_activations_of_30() -> None:
    paper, code = (
        ResponseNorm(SETTINGS[name][0])(images(48))
        for name in ("paper, sec. 3.3", "2012 code, layers-145")
    )
    assert ((code - paper) / paper).abs().max() > 0.1


@pytest.mark.parametrize(("divide", "torch_alpha"), [(False, 5e-4), (True, 1e-4)])
def test_norm_equals_torchs_with_its_alpha_divided_by_the_window(
    divide: bool, torch_alpha: float
) -> None:
    x = images(16)
    layer = LRN(name="n", divide_by_size=divide)
    wanted = nn.LocalResponseNorm(5, torch_alpha, 0.75, 2.0)(x)
    torch.testing.assert_close(ResponseNorm(layer)(x), wanted, rtol=EXACT, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_float32_stays_within_a_millionth_of_float64(layout: torch.memory_format) -> None:
    x = images(24, std=300.0).requires_grad_()
    y = x.detach().float().contiguous(memory_format=layout).requires_grad_()
    module = ResponseNorm(LRN(name="n", groups=2))
    module(x).square().sum().backward()
    module(y).square().sum().backward()
    torch.testing.assert_close(module(y).double(), module(x), rtol=1e-6, atol=0)
    assert x.grad is not None
    assert y.grad is not None
    assert (y.grad - x.grad).abs().max() < 1e-6 * x.grad.abs().max()


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_columns_never_see_each_other_even_at_activations_of_300(layout: torch.memory_format) -> None:
    x = images(96, std=300.0).contiguous(memory_format=layout)
    halves = [
        ResponseNorm(LRN(name="n"))(half.contiguous(memory_format=layout)) for half in x.chunk(2, 1)
    ]
    alone = torch.cat(halves, 1)
    columns = ResponseNorm(LRN(name="n", groups=2))(x)
    leaky = ResponseNorm(LRN(name="n", groups=1))(x)
    # summing a row of zeros in between may reorder the five terms, nothing more
    torch.testing.assert_close(columns, alone, rtol=EXACT, atol=0)
    wrong = ((leaky - alone) / alone).abs().amax(dim=(0, 2, 3))
    assert wrong[46:50].min() > 0.1  # the two maps at each side of the seam
    assert torch.cat([wrong[:46], wrong[50:]]).max() < EXACT


def test_within_map_norm_is_a_loop_over_neighbouring_pixels() -> None:
    x = images(3, side=7)
    layer = SpatialLRN(name="n", size=5, alpha=1e-3, beta=0.75, k=1.0)
    made = SpatialResponseNorm(layer)(x)
    for row in range(7):
        for column in range(7):
            near = x[:, :, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            base = 1.0 + 1e-3 / 25 * near.square().sum(dim=(2, 3))
            torch.testing.assert_close(
                made[:, :, row, column], x[:, :, row, column] / base**0.75, rtol=EXACT, atol=0
            )


MODULES = {
    "columns": ResponseNorm(LRN(name="n", alpha=1e-2, groups=2)),
    "power": ResponseNorm(LRN(name="n", size=3, alpha=1e-2, beta=0.6)),
    "narrow": ResponseNorm(LRN(name="n", size=9, alpha=1e-2, groups=4)),
    "map": SpatialResponseNorm(SpatialLRN(name="n", alpha=1e-1)),
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("name", MODULES)
def test_backward_pass_is_the_derivative(name: str, layout: torch.memory_format) -> None:
    x = images(8, side=3, std=10.0).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(MODULES[name], x)


@pytest.mark.parametrize("name", MODULES)
def test_pieces_of_the_batch_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def pass_through() -> tuple[Tensor, Tensor]:
        x = images(8).requires_grad_()
        made = MODULES[name](x)
        made.square().sum().backward()
        assert x.grad is not None
        return made, x.grad

    whole = pass_through()
    monkeypatch.setattr(lrn_torch, "PIECE_BYTES", 1)  # one image at a time
    assert all(torch.equal(a, b) for a, b in zip(whole, pass_through(), strict=True))


@pytest.mark.parametrize("name", MODULES)
def test_half_precision_is_float32_rounded_once(name: str) -> None:
    x = images(8, dtype=torch.float32).bfloat16().requires_grad_()
    y = x.detach().float().requires_grad_()
    made, wanted = MODULES[name](x), MODULES[name](y)
    assert made.dtype is torch.bfloat16
    assert torch.equal(made, wanted.bfloat16())
    made.backward(torch.ones_like(made))
    wanted.backward(torch.ones_like(wanted))
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(x.grad, y.grad.bfloat16())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", MODULES)
def test_autocast_leaves_the_sum_of_squares_in_float32(name: str, layout: torch.memory_format) -> None:
    """On a CPU autocast took the banded product in bfloat16, with three times the error of one rounding."""
    x = images(8, dtype=torch.float32).bfloat16().contiguous(memory_format=layout)
    wanted = MODULES[name](x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = MODULES[name](x)
    assert torch.equal(made, wanted.bfloat16())


def test_second_derivatives_are_refused_rather_than_wrong() -> None:
    x = images(8).requires_grad_()
    (gradient,) = torch.autograd.grad(MODULES["columns"](x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        gradient.sum().backward()


def test_an_empty_batch_passes() -> None:
    assert ResponseNorm(LRN(name="n"))(torch.empty(0, 8, 3, 3)).shape == (0, 8, 3, 3)


# ------------------------------------------------ compiled kernels (lrn_kernels_across.py, lrn_kernels_within.py)

IN_FLOAT32 = (
    2e-6  # a few roundings of 6e-8 in sums of up to 81 terms, a root of a root, and their backward pass
)
NORMS = {
    "5 maps, two columns": (24, partial(lrn.response_norm, size=5, groups=2)),
    "7 maps in all": (7, partial(lrn.response_norm, size=5, groups=1)),
    "9 maps": (64, partial(lrn.response_norm, size=9, groups=1)),
    "3 maps, four columns": (12, partial(lrn.response_norm, size=3, groups=4)),
    "more maps than a block": (300, partial(lrn.response_norm, size=5, groups=1)),
    "one map": (8, partial(lrn.response_norm, size=1, groups=1)),
    "3 x 3 pixels": (3, partial(lrn.spatial_response_norm, size=3)),
    "9 x 9 pixels": (32, partial(lrn.spatial_response_norm, size=9)),
    "one pixel": (8, partial(lrn.spatial_response_norm, size=1)),
    "wider than the map": (8, partial(lrn.spatial_response_norm, size=61)),
}


def _no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernels in (lrn_kernels_across, lrn_kernels_within):
        monkeypatch.setattr(kernels, "usable", lambda *given: False)


def _pass_through(
    name: str, dtype: torch.dtype = torch.float32, rounded_to: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """(output, gradient) of at least 270,000 floats, enough for two threads; rows and columns differ.

    rounded_to: of the input, which is then computed with in `dtype`.
    """
    maps, norm = NORMS[name]
    x = torch.randn(max(20, 500 // maps), maps, 31, 29, generator=torch.Generator().manual_seed(1))
    x = x.mul_(30).to(rounded_to).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    y = norm(x, scale=1e-4, beta=0.75, k=2.0)
    (grad,) = torch.autograd.grad(y, x, x.detach().flip(0))
    return y.detach(), grad


@pytest.mark.parametrize("name", NORMS)
def test_compiled_kernels_equal_torchs_operations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    compiled = _pass_through(name)
    _no_kernels(monkeypatch)
    for one, other in zip(compiled, _pass_through(name), strict=True):
        assert ((one - other).abs().max() / other.abs().max()) < IN_FLOAT32
        # both ways were taken; a window of one may have the same bits
        assert name.startswith("one") or not torch.equal(one, other)


@pytest.mark.parametrize("halves", [1, 1 << 21], ids=["one image at a time", "all at once"])
@pytest.mark.parametrize("name", ["5 maps, two columns", "9 x 9 pixels"])
def test_compiled_kernels_round_half_precision_once(
    name: str, halves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(numba_kernels, "HALVES_AT_A_TIME", halves)
    half, wide = _pass_through(name, torch.bfloat16), _pass_through(name, torch.float32, torch.bfloat16)
    for one, other in zip(half, wide, strict=True):
        assert one.dtype == torch.bfloat16
        assert torch.equal(one, other.bfloat16())


@pytest.mark.parametrize("name", ["5 maps, two columns", "9 x 9 pixels"])
def test_compiled_kernels_give_the_same_bits_for_any_number_of_threads(name: str) -> None:
    pytest.importorskip("numba")
    before, made = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        made.append(_pass_through(name))
    torch.set_num_threads(before)
    assert all(
        torch.equal(part, first) for one in made[1:] for part, first in zip(one, made[0], strict=True)
    )


def test_without_numba_torch_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for kernels in (lrn_kernels_across, lrn_kernels_within):
        monkeypatch.setattr(kernels, "kernels", kernels.kernels.__wrapped__)
    x = images(12, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    assert not lrn_kernels_across.usable(x, 5, 0.75)
    assert not lrn_kernels_within.usable(x, 5, 0.75)
    wanted = by_loop(x.double(), 5, 1e-4, 0.75, 2.0)
    torch.testing.assert_close(
        lrn.response_norm(x, 5, 1, 1e-4, 0.75, 2.0).double(), wanted, rtol=IN_FLOAT32, atol=1e-5
    )


def test_a_gradient_of_another_layout_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    x = images(12, dtype=torch.float32).contiguous(memory_format=torch.channels_last).requires_grad_()
    above = images(12, dtype=torch.float32).flip(0)
    y = lrn.response_norm(x, 5, 1, 1e-4, 0.75, 2.0)
    one, other = (
        torch.autograd.grad(y, x, a, retain_graph=True)[0]
        for a in (above, above.contiguous(memory_format=torch.channels_last))
    )
    assert torch.equal(one, other)
