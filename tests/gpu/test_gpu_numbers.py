"""The GPU computes what the CPU computes: every net forward and backward, the norm's kernels, copies, compiled code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.data.base import Batch
from harness.data.prefetch import ahead
from harness.loss import maybe_compiled, training_loss
from harness.precision import autocast, float32_precision
from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.layers import LRN
from variants.modules import lrn
from variants.modules.alexnet import AlexNet, build
from variants.modules.lrn import ResponseNorm
from variants.recipes import RECIPES
from variants.recipes.recipe import Loss
from variants.spec import AlexNetSpec

# Sums of up to some 1e5 products of float32 (6e-8 each) in another order, through up to 8 layers and back
LOSS, GRADIENT = 1e-4, 2e-3


def nets_in_mini() -> dict[str, AlexNetSpec]:
    distinct: dict[AlexNetSpec, str] = {}
    for name, row in CATALOG.items():
        distinct.setdefault(spec_for(row, "mini" if "mini" in row.geometries else "cifar", 10), name)
    return {name: spec for spec, name in distinct.items()}


def without_dropout(spec: AlexNetSpec, device: torch.device) -> AlexNet:
    """The two devices draw other masks."""
    net = build(spec, generator=torch.Generator().manual_seed(0), device=device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def step(
    spec: AlexNetSpec, device: torch.device, precision: Any = "fp32"
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one batch, on the CPU."""
    net = without_dropout(spec, device)
    generator = torch.Generator().manual_seed(1)
    images = (
        torch.randn(16, spec.input_channels, spec.input_size, spec.input_size, generator=generator) * 60
    )
    labels, boxes = torch.arange(16) % 10, torch.rand(16, 4, generator=generator) if spec.box else None
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    with float32_precision(precision):
        with autocast(precision, device):
            _, loss = training_loss(
                net,
                images,
                labels.to(device),
                None if boxes is None else boxes.to(device),
                Loss(box_weight=1.0),
            )
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: w.grad.cpu() for name, w in net.named_parameters() if w.grad is not None}


@pytest.mark.parametrize(("name", "spec"), nets_in_mini().items(), ids=nets_in_mini())
def test_a_row_has_the_loss_and_gradients_of_the_cpu(
    name: str, spec: AlexNetSpec, device: torch.device
) -> None:
    (wanted, wanted_grads), (made, grads) = step(spec, torch.device("cpu")), step(spec, device)
    assert made == pytest.approx(wanted, rel=LOSS)
    assert grads.keys() == wanted_grads.keys()
    far = {
        key: error
        for key, grad in wanted_grads.items()
        if (error := float((grads[key] - grad).abs().max() / grad.abs().max().clamp(min=1e-12)))
        > GRADIENT
    }
    assert far == {}


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_lower_precision_stays_near_float32(precision: str, device: torch.device) -> None:
    """TF32 has 10 bits of mantissa and bfloat16 7: errors of 5e-4 and 4e-3 a product, averaged over many."""
    spec = nets_in_mini()["grouped_2gpu"]
    assert step(spec, device, precision)[0] == pytest.approx(step(spec, device)[0], rel=2e-2)


NORMS = {
    "columns": LRN(name="n", groups=2),
    "wide": LRN(name="n", size=9, alpha=1e-3, k=1.0, divide_by_size=True),
    "another power": LRN(name="n", size=3, alpha=1e-2, beta=0.6),
}


@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)
@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float32, 2e-6), (torch.bfloat16, 2**-8), (torch.float16, 2**-11)],
    ids=["float32", "bfloat16", "float16"],
)
@pytest.mark.parametrize("name", NORMS)
def test_the_norms_kernels_have_the_values_of_float64(
    name: str, dtype: torch.dtype, bound: float, layout: torch.memory_format, device: torch.device
) -> None:
    """Half precision is rounded once, to 8 or 11 bits."""
    x = (torch.randn(4, 100, 13, 11, generator=torch.Generator().manual_seed(1)) * 30).to(dtype)
    above = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    module = ResponseNorm(NORMS[name])
    pairs = []
    for where, kind in ((device, dtype), (torch.device("cpu"), torch.float64)):
        leaf = x.to(where, kind).contiguous(memory_format=layout).requires_grad_()
        y = module(leaf)
        (grad,) = torch.autograd.grad(y, leaf, above.to(where, kind))
        pairs.append((y.detach().cpu().double(), grad.cpu().double()))
    for made, wanted in zip(*pairs, strict=True):
        assert float((made - wanted).abs().max()) < bound * float(wanted.abs().max())


def test_the_norm_runs_its_own_kernels_where_triton_is_installed(device: torch.device) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    x = torch.randn(4, 96, 13, 13, device=device).contiguous(memory_format=torch.channels_last)
    module = ResponseNorm(LRN(name="n"))
    assert lrn._gpu_kernels(x, 5, 1) is not None
    module(x)
    with torch.profiler.profile() as profile:
        module(x)
        torch.cuda.synchronize()
    launched = [event.name for event in profile.events() if event.device_type.name == "CUDA"]
    assert [name for name in launched if "_forward" in name]
    assert len(launched) == 1


def test_batches_copied_ahead_are_the_loaders(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    made = [
        Batch(
            torch.randint(0, 256, (64, 3, 64, 64), dtype=torch.uint8, generator=generator),
            torch.arange(64) + n,
            torch.arange(64),
        )
        for n in range(20)
    ]
    busy = torch.randn(2048, 2048, device=device)
    for given, wanted in zip(ahead(iter(made), device), made, strict=True):
        busy = busy @ busy / 50  # the copy of the next batch goes on beside this
        assert given.images.device.type == device.type
        assert torch.equal(given.images.cpu(), wanted.images)
        assert torch.equal(given.labels.cpu(), wanted.labels)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler
def test_compiled_code_has_the_loss_of_eager_mode(device: torch.device) -> None:
    from dataclasses import replace

    torch._dynamo.reset()
    spec = nets_in_mini()["grouped_2gpu"]
    images = (torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 60).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(16) % 10).to(device)
    losses = []
    for compiled in (False, True):
        net = without_dropout(spec, device)
        made = maybe_compiled(replace(RECIPES["mini"].recipe, compile=compiled))
        _, loss = made(net, images, labels, None, Loss())
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=LOSS)
