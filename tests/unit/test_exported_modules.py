"""Every net under torch.export with any batch size: the same scores as in eager mode, in operations of torch alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.layers import LRN, SpatialLRN
from variants.modules.alexnet import build
from variants.modules.lrn import ResponseNorm, SpatialResponseNorm
from variants.spec import AlexNetSpec

# Norms are computed by other kernels in eager mode: a few roundings of 6e-8, and the layers above pass them on
TO_ROUNDING = {"rtol": 1e-4, "atol": 1e-5}
ANY_BATCH = ({0: torch.export.Dim("batch", min=2, max=256)},)


def nets_in_mini() -> dict[str, AlexNetSpec]:
    """Each distinct net of the catalogue once, at its smallest geometry, under the first row's name."""
    distinct: dict[AlexNetSpec, str] = {}
    for name, row in CATALOG.items():
        distinct.setdefault(spec_for(row, "mini" if "mini" in row.geometries else "cifar", 10), name)
    return {name: spec for spec, name in distinct.items()}


def images(count: int, spec: AlexNetSpec) -> Tensor:
    shape = (count, spec.input_channels, spec.input_size, spec.input_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(count)) * 60


@pytest.mark.parametrize(("name", "spec"), nets_in_mini().items(), ids=nets_in_mini())
def test_a_row_exported_with_any_batch_size_has_the_scores_of_eager_mode(
    name: str, spec: AlexNetSpec
) -> None:
    net = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    exported = torch.export.export(net, (images(3, spec),), dynamic_shapes=ANY_BATCH)
    operations = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert not {each for each in operations if "alexnet" in each}
    run = exported.module()
    for count in (2, 5):
        x = images(count, spec)
        with torch.no_grad():
            torch.testing.assert_close(run(x), net(x), **TO_ROUNDING)


NORMS = {
    "across maps": ResponseNorm(LRN(name="n", alpha=1e-2, groups=2)),
    "within maps": SpatialResponseNorm(SpatialLRN(name="n", alpha=1e-1)),
}


# of opcheck itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", NORMS)
def test_the_operations_keep_their_promises_to_torch(name: str) -> None:
    """Schema, result on the meta device, autograd registration and tracing of both passes, with a dynamic batch."""
    x = torch.randn(
        3, 8, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).requires_grad_()
    operations = torch.ops.alexnet_harness
    if name == "across maps":
        torch.library.opcheck(operations.response_norm.default, (x, 5, 2, 1e-2, 0.75, 2.0))
        torch.library.opcheck(
            operations.response_norm_backward.default, (x.detach(), x.detach(), 5, 2, 1e-2, 0.75, 2.0)
        )
    else:
        torch.library.opcheck(operations.spatial_response_norm.default, (x, 5, 1e-2, 0.75, 1.0))
        torch.library.opcheck(
            operations.spatial_response_norm_backward.default,
            (x.detach(), x.detach(), 5, 1e-2, 0.75, 1.0),
        )


# of opcheck itself
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("padding", [0, 1])
def test_the_windows_of_local_layers_keep_their_promises_to_torch(padding: int) -> None:
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    operations = torch.ops.alexnet_harness
    torch.library.opcheck(operations.local_windows.default, (x, 3, 1, padding))
    grad = operations.local_windows.default(x.detach(), 3, 1, padding)
    torch.library.opcheck(operations.local_windows_backward.default, (grad, 6, 5, 3, 1, padding))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NORMS)
def test_the_meta_device_gives_shape_layout_and_type(name: str, layout: torch.memory_format) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(2, 8, 6, 6).to(dtype).contiguous(memory_format=layout)
        made, wanted = NORMS[name](x.to("meta")), NORMS[name](x)
        assert (made.shape, made.stride(), made.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)


@pytest.mark.parametrize("name", NORMS)
def test_an_exported_norm_trains(name: str) -> None:
    x = torch.randn(3, 8, 6, 6, generator=torch.Generator().manual_seed(1)).mul_(30).requires_grad_()
    run = torch.export.export(nn.Sequential(NORMS[name]), (x,), dynamic_shapes=ANY_BATCH).module()
    (wanted,) = torch.autograd.grad(NORMS[name](x).square().sum(), x)
    (made,) = torch.autograd.grad(run(x).square().sum(), x)
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_traced_by_torch_jit_takes_another_batch_size(name: str) -> None:
    def batch(count: int) -> Tensor:
        return torch.randn(count, 8, 6, 6, generator=torch.Generator().manual_seed(count)) * 30

    with pytest.warns():  # torch.jit is deprecated
        traced = torch.jit.trace(NORMS[name], batch(2))
    assert torch.equal(traced(batch(7)), NORMS[name](batch(7)))
    assert "alexnet" not in str(traced.graph)


def test_a_row_as_onnx_has_the_scores_of_eager_mode() -> None:
    """Needs onnx, onnxscript and onnxruntime, which the project itself does not."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed; the project does not need it")
    import onnxruntime

    spec = nets_in_mini()["grouped_2gpu"]
    net = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    program = torch.onnx.export(net, (images(3, spec),), dynamic_shapes=ANY_BATCH, dynamo=True)
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    x = images(5, spec)
    (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(made), net(x), **TO_ROUNDING)
