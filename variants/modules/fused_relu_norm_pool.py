"""ReLU, response normalisation across maps and 3x3 max pooling with stride 2 as one operation, on the
CPU in float32.

It never writes the normalised maps, nor the gradient with zeros where no maximum was. For the backward
pass it saves x as it was before the ReLU, and one byte for each output. Outputs and gradients have the
modules' bits. The modules run one by one wherever anything may look between them: hooks, torch.fx,
torch.export, torch.jit, torch.func and dispatch modes. torch.compile takes the operation as it is; code
for the pooling's backward pass would take it longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.nn import functional as F
from torch.nn.modules import module as every_module
from torch.overrides import _get_current_function_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode

from variants.modules import fused_kernels, lrn_kernels_across
from variants.modules.leaving import leaves_this_package
from variants.modules.lrn import ResponseNorm
from variants.modules.numba_kernels import INSTALLED, run_by_images

WINDOW, STRIDE = 3, 2  # of the pooling


class Settings(NamedTuple):
    """relu: whether a ReLU comes first. size, groups, scale, k: as in lrn.py. ceil: the pooling's rule."""

    relu: bool
    size: int
    groups: int
    scale: float
    k: float
    ceil: bool


def run(layers: Sequence[nn.Module], x: Tensor, at: int) -> tuple[Tensor, int]:
    """(output, position of the next layer) of layers[at], or of that and the one or two after it as one
    operation.
    """
    if type(layers[at]) in (nn.ReLU, ResponseNorm):
        relu = type(layers[at]) is nn.ReLU
        end = at + relu + 2
        settings = _settings(relu, layers[at + relu : end])
        # a hook of the layer before sees its output, which the ReLU changes in place
        seen = layers[max(0, at - relu) : end]
        if settings is not None and _unwatched(x, seen) and _usable(x, settings):
            return relu_norm_pool(x, settings), end
    made: Tensor = layers[at](x)
    return made, at + 1


def relu_norm_pool(x: Tensor, settings: Settings) -> Tensor:
    """(N, C, H, W), float32 and channels_last on the CPU -> (N, C, out_H, out_W)."""
    made: Tensor = _operation(x, *settings)[0]
    return made


@torch.library.custom_op("alexnet_harness::relu_norm_pool", mutates_args=())
def _operation(
    x: Tensor, relu: bool, size: int, groups: int, scale: float, k: float, ceil: bool
) -> tuple[Tensor, Tensor]:
    return forward(x, Settings(relu, size, groups, scale, k, ceil))


@torch.library.custom_op("alexnet_harness::relu_norm_pool_backward", mutates_args=())
def _operation_backward(
    x: Tensor,
    grad: Tensor,
    places: Tensor,
    relu: bool,
    size: int,
    groups: int,
    scale: float,
    k: float,
    ceil: bool,
) -> Tensor:
    return backward(x, grad, places, Settings(relu, size, groups, scale, k, ceil))


@_operation.register_fake
def _(
    x: Tensor, relu: bool, size: int, groups: int, scale: float, k: float, ceil: bool
) -> tuple[Tensor, Tensor]:
    return _empty_outputs(x, ceil)


@_operation_backward.register_fake
def _(x: Tensor, grad: Tensor, places: Tensor, *settings: Any) -> Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *ctx.settings = inputs
    ctx.save_for_backward(x, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _derive(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
    x, places = ctx.saved_tensors
    return _operation_backward(x, grad, places, *ctx.settings), *(None for _ in ctx.settings)


_operation.register_autograd(_derive, setup_context=_save)


def _empty_outputs(x: Tensor, ceil: bool) -> tuple[Tensor, Tensor]:
    """For the output and the places, channels_last as x is."""
    sides = ((side - WINDOW + ceil) // STRIDE + 1 for side in x.shape[2:])
    out = torch.empty((*x.shape[:2], *sides), memory_format=torch.channels_last, device=x.device)
    return out, torch.empty_like(out, dtype=torch.uint8)


def forward(x: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """(output, places): places are uint8 of the output's shape, each maximum's place 0..8 in its
    window.
    """
    out, places = _empty_outputs(x, settings.ceil)
    extreme = torch.zeros(len(x), 1, 1, 1, dtype=torch.uint8)
    kernel, constants = _kernels(settings)[0], _constants(x, settings)
    run_by_images(lambda x, *made: kernel(x, *constants, *made), x, out, places, extreme)
    if extreme.any():
        return _step_by_step(x, settings)[2], places
    return out, places


def backward(x: Tensor, grad: Tensor, places: Tensor, settings: Settings) -> Tensor:
    """The gradient with respect to x, given the gradient `grad` with respect to the output of
    `forward`.
    """
    made, extreme = torch.empty_like(x), torch.zeros(len(x), 1, 1, 1, dtype=torch.uint8)
    grad = grad.contiguous(memory_format=torch.channels_last)
    kernel, constants = _kernels(settings)[1], _constants(x, settings)
    factor = np.float32(-1.5 * settings.scale)
    run_by_images(
        lambda x, grad, places, *made: kernel(x, grad, places, *constants, factor, *made),
        *(x, grad, places, made, extreme),
    )
    return _backward_step_by_step(x, grad, settings) if extreme.any() else made


def _step_by_step(x: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the modules compute, for extreme numbers (fused_kernels.py): (rectified, normalised, pooled,
    positions).
    """
    rectified = F.relu(x) if settings.relu else x
    normal = lrn_kernels_across.forward(
        rectified, settings.size, settings.groups, settings.scale, settings.k
    )
    pooled, at = F.max_pool2d(normal, WINDOW, STRIDE, ceil_mode=settings.ceil, return_indices=True)
    return rectified, normal, pooled, at


def _backward_step_by_step(x: Tensor, grad: Tensor, settings: Settings) -> Tensor:
    rectified, normal, _, at = _step_by_step(x, settings)
    sides = [WINDOW, WINDOW], [STRIDE, STRIDE], [0, 0], [1, 1]
    grad = torch.ops.aten.max_pool2d_with_indices_backward(grad, normal, *sides, settings.ceil, at)
    grad = lrn_kernels_across.backward(
        rectified, grad, settings.size, settings.groups, settings.scale, settings.k
    )
    return torch.ops.aten.threshold_backward(grad, rectified, 0) if settings.relu else grad


def _kernels(settings: Settings) -> tuple[Any, Any]:
    both = fused_kernels.kernels(settings.size)
    assert both is not None
    return both


def _constants(x: Tensor, settings: Settings) -> tuple[Any, ...]:
    maps, floor = x.shape[1], 0.0 if settings.relu else -np.inf
    numbers = (np.float32(number) for number in (settings.scale, settings.k, floor))
    return lrn_kernels_across.window_masks(maps, settings.size, settings.groups), *numbers, maps


def _settings(relu: bool, norm_and_pool: Sequence[nn.Module]) -> Settings | None:
    """None where the modules are not what the kernels compute."""
    if tuple(map(type, norm_and_pool)) != (ResponseNorm, nn.MaxPool2d):
        return None
    norm, pool = norm_and_pool
    assert isinstance(norm, ResponseNorm)
    assert isinstance(pool, nn.MaxPool2d)
    whole = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices)
    if whole != (WINDOW, STRIDE, 0, 1, False) or norm.beta != 0.75 or norm.k <= 0 or norm.scale < 0:
        return None
    return Settings(relu, norm.size, norm.groups, norm.scale, norm.k, pool.ceil_mode)


def _usable(x: Tensor, settings: Settings) -> bool:
    """Whether x is float32 and channels_last on the CPU, and has a whole window; numba must be
    installed.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or x.dim() != 4:
        return False
    count, maps, height, width = x.shape
    return (
        count > 0
        and maps >= settings.size
        and min(height, width) >= WINDOW
        and x.stride() == (height * width * maps, 1, width * maps, maps)
        # torch.compile can't follow how the kernels are made
        and (INSTALLED if is_compiling() else fused_kernels.kernels(settings.size) is not None)
    )


def _unwatched(x: Tensor, layers: Sequence[nn.Module]) -> bool:
    """Whether nothing looks at the maps between the layers, or at their calls."""
    if type(x) is not Tensor or leaves_this_package() or (not is_compiling() and _in_a_mode()):
        return False
    if (
        every_module._global_forward_hooks
        or every_module._global_forward_pre_hooks
        or every_module._global_backward_hooks
        or every_module._global_backward_pre_hooks
    ):
        return False
    return not any(_is_watched(inner) for layer in layers for inner in layer.modules())


def _in_a_mode() -> bool:
    """Whether something sees or transforms the operations of torch."""
    modes = (_get_current_function_mode(), _get_current_dispatch_mode())  # type: ignore[no-untyped-call]
    return modes != (None, None) or torch._C._are_functorch_transforms_active()


def _is_watched(layer: nn.Module) -> bool:
    """Whether it has hooks, or its `forward` was replaced or compiled."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in layer.__dict__
        or layer._compiled_call_impl
    )
