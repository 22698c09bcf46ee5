"""Layers under torch.fx and torch.jit: the same function as in eager mode, traced or scripted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from variants.layers import (
    LRN,
    AdaptivePool,
    BatchNorm,
    Conv,
    Dense,
    Inception,
    Layer,
    Local,
    SpatialLRN,
)
from variants.modules.alexnet import build, layer_module
from variants.spec import AlexNetSpec

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script:FutureWarning",
    "ignore:.*torch.jit.script:DeprecationWarning",  # torch 2.11
    "ignore:.*TorchScript:UserWarning",
)

LAYERS: dict[str, Layer] = {
    "conv past the edge": Conv(name="n", out=8, kernel=3, stride=2, rule="ceil", groups=2),
    "residual conv": Conv(name="n", out=8, kernel=3, padding=1, residual=True),
    "depthwise first": Conv(name="n", out=8, kernel=3, separable="depthwise_first"),
    "pointwise first": Conv(name="n", out=8, kernel=3, separable="pointwise_first"),
    "local": Local(name="n", out=4, kernel=3, padding=1),
    "dense": Dense(name="n", out=6),
    "grouped dense": Dense(name="n", out=6, groups=2),
    "adaptive pool of the same size": AdaptivePool(name="n", size=6),
    "adaptive pool": AdaptivePool(name="n", size=4),
    "inception": Inception(name="n", one=2, three=4, five=2, separable=True),
    "batch norm": BatchNorm(name="n"),
    "response norm": LRN(name="n", groups=2),
    "wide response norm": LRN(name="n", size=9, alpha=1e-3, k=1.0, divide_by_size=True, beta=0.5),
    "spatial response norm": SpatialLRN(name="n"),
}


def module_of(layer: Layer) -> nn.Module:
    """The layer's module over 8 maps of 6x6, with weights."""
    torch.manual_seed(0)
    spec = AlexNetSpec(
        input_size=6, input_channels=8, layers=(replace(layer), Dense(name="last", out=2))
    )
    return build(spec).get_submodule("n") if spec.rows[0].parameters else layer_module(spec.rows[0], "")


def run(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(output, gradient of the input) for a fixed input and a fixed gradient of the output."""
    x = torch.randn(3, 8, 6, 6, generator=torch.Generator().manual_seed(1)) * 100
    x = x.to(dtype).requires_grad_()
    made = module.to(dtype)(x)
    above = torch.randn(made.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    made.backward(above)
    assert x.grad is not None
    return made.detach(), x.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_traced_layer_has_the_bits_of_eager_mode_in_both_passes(
    name: str, dtype: torch.dtype
) -> None:
    module = module_of(LAYERS[name])
    traced = torch.fx.symbolic_trace(nn.Sequential(module))
    for wanted, made in zip(run(module, dtype), run(traced, dtype), strict=True):
        assert torch.equal(made, wanted)


@pytest.mark.parametrize("traced_before", [False, True], ids=["scripted", "traced and scripted"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_scripted_layer_has_the_output_of_eager_mode_and_its_gradient_to_rounding(
    name: str, traced_before: bool
) -> None:
    """Gradients of response norms come from autograd there: float32 has 1.2e-7, and some 20 terms are added."""
    module = module_of(LAYERS[name])
    wanted, wanted_grad = run(module, torch.float32)
    scripted = torch.jit.script(
        torch.fx.symbolic_trace(nn.Sequential(module)) if traced_before else module
    )
    made, grad = run(scripted, torch.float32)
    assert torch.equal(made, wanted)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-5, atol=1e-6 * float(wanted_grad.abs().max()))


def test_a_traced_or_scripted_batch_norm_still_refuses_sequences() -> None:
    module = module_of(BatchNorm(name="n"))
    for held in (module, torch.fx.symbolic_trace(nn.Sequential(module)), torch.jit.script(module)):
        with pytest.raises(Exception, match="expected"):
            held(torch.zeros(2, 8, 6))
