"""The local response normalisations of 2012, across maps and within each map, several times faster than
torch's.

Both divide x by (k + scale * s)^beta, where s sums x^2 over a window that is cut at the border. The
backward pass is written by hand, so that only x is saved for it. Who computes them:

    lrn_kernels_across.py, lrn_kernels_within.py
                     CPU, channels_last: each pass at once, compiled by numba if it is installed
    lrn_triton.py    GPU, across maps: each pass at once, compiled by Triton if it is installed
    fused_relu_norm_pool.py
                     CPU, across maps, with the ReLU before it and the pooling after it, where nothing
                     needs the maps between them
    lrn_torch.py     everything else, in several operations of torch

Each direction is one custom operation of torch, so torch.compile takes it as it is and the data type is
x's, also under autocast. torch.export, torch.jit and the tracing of torch.jit get the same function in
operations of torch instead: what they make runs without this package. `response_norm` and
`spatial_response_norm` are one node each for torch.fx.
"""

from __future__ import annotations

import warnings
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

# torch's documentation has it there
from torch.jit import is_scripting  # type: ignore[attr-defined]

from variants import layers
from variants.modules import lrn_kernels_across, lrn_kernels_within, lrn_torch
from variants.modules.leaving import leaves_this_package


class ResponseNorm(nn.Module):
    """Normalises (N, C, ...) across `size` adjacent maps, separately in each of `groups` columns;
    paper sec. 3.3.
    """

    def __init__(self, layer: layers.LRN) -> None:
        super().__init__()
        self.layer = layer
        self.size, self.groups, self.beta, self.k = layer.size, layer.groups, layer.beta, layer.k
        self.scale = layer.alpha / layer.size if layer.divide_by_size else layer.alpha

    def forward(self, x: Tensor) -> Tensor:
        return response_norm(x, self.size, self.groups, self.scale, self.beta, self.k)

    def extra_repr(self) -> str:
        at = self.layer
        return f"{at.size}, alpha={at.alpha}, beta={at.beta}, k={at.k}, groups={at.groups}"


class SpatialResponseNorm(nn.Module):
    """Normalises each map of (N, C, H, W) over size x size pixels; `rnorm` of layers-145.cfg, 2012."""

    def __init__(self, layer: layers.SpatialLRN) -> None:
        super().__init__()
        self.layer = layer
        self.size, self.beta, self.k = layer.size, layer.beta, layer.k
        self.scale = layer.alpha / layer.size**2

    def forward(self, x: Tensor) -> Tensor:
        return spatial_response_norm(x, self.size, self.scale, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.layer.size}, alpha={self.layer.alpha}, beta={self.layer.beta}, k={self.layer.k}"


@torch.fx.wrap
def response_norm(x: Tensor, size: int, groups: int, scale: float, beta: float, k: float) -> Tensor:
    """x * (k + scale * s)^-beta for (N, C, ...), s the sum of x^2 over `size` adjacent maps within
    each group.
    """
    if not is_scripting():  # noqa: SIM102  # torch.jit leaves out the branch only if this stands alone
        if not leaves_this_package():
            made: Tensor = _across_maps(x, size, groups, scale, beta, k)
            return made
    return lrn_torch.plain_across_maps(x, size, groups, scale, beta, k)


@torch.fx.wrap
def spatial_response_norm(x: Tensor, size: int, scale: float, beta: float, k: float) -> Tensor:
    """x * (k + scale * s)^-beta for (N, C, H, W), s the sum of x^2 over size x size pixels of the
    same map.
    """
    if not is_scripting():  # noqa: SIM102  # torch.jit leaves out the branch only if this stands alone
        if not leaves_this_package():
            made: Tensor = _within_map(x, size, scale, beta, k)
            return made
    return lrn_torch.plain_within_map(x, size, scale, beta, k)


@torch.library.custom_op("alexnet_harness::response_norm", mutates_args=())
def _across_maps(x: Tensor, size: int, groups: int, scale: float, beta: float, k: float) -> Tensor:
    if lrn_kernels_across.usable(x, size, beta):
        return lrn_kernels_across.forward(x, size, groups, scale, k)
    if (gpu := _gpu_kernels(x, size, groups)) is not None:
        return gpu.forward(x, size, groups, scale, beta, k)  # type: ignore[no-any-return]
    return lrn_torch.forward(x, lrn_torch.across_maps(x, size, groups), scale, beta, k)


@torch.library.custom_op("alexnet_harness::response_norm_backward", mutates_args=())
def _across_maps_backward(
    x: Tensor, grad: Tensor, size: int, groups: int, scale: float, beta: float, k: float
) -> Tensor:
    if lrn_kernels_across.usable(x, size, beta):
        return lrn_kernels_across.backward(x, grad, size, groups, scale, k)
    if (gpu := _gpu_kernels(x, size, groups)) is not None:
        return gpu.backward(x, grad, size, groups, scale, beta, k)  # type: ignore[no-any-return]
    return lrn_torch.backward(x, grad, lrn_torch.across_maps(x, size, groups), scale, beta, k)


@torch.library.custom_op("alexnet_harness::spatial_response_norm", mutates_args=())
def _within_map(x: Tensor, size: int, scale: float, beta: float, k: float) -> Tensor:
    if lrn_kernels_within.usable(x, size, beta):
        return lrn_kernels_within.forward(x, size, scale, k)
    return lrn_torch.forward(x, partial(lrn_torch.within_map, size), scale, beta, k)


@torch.library.custom_op("alexnet_harness::spatial_response_norm_backward", mutates_args=())
def _within_map_backward(
    x: Tensor, grad: Tensor, size: int, scale: float, beta: float, k: float
) -> Tensor:
    if lrn_kernels_within.usable(x, size, beta):
        return lrn_kernels_within.backward(x, grad, size, scale, k)
    return lrn_torch.backward(x, grad, partial(lrn_torch.within_map, size), scale, beta, k)


def _connect(forward: Any, backward: Any) -> None:
    """Tell torch what the two operations return (a tensor like x), and that the one is the other's
    derivative.
    """

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, *ctx.constants = inputs
        ctx.save_for_backward(x)

    def derive(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return backward(x, grad, *ctx.constants), *(None for _ in ctx.constants)

    for operation in (forward, backward):
        operation.register_fake(lambda x, *rest: torch.empty_like(x))
    forward.register_autograd(derive, setup_context=save)


def _gpu_kernels(x: Tensor, size: int, groups: int) -> Any:
    """lrn_triton, if it can do this input; else None."""
    if x.device.type != "cuda":
        return None
    kernels = _loaded_for(x.device)
    return kernels if kernels is not None and kernels.usable(x, size, groups) else None


@cache
def _loaded_for(device: torch.device) -> Any:
    """lrn_triton once it has normalised a tensor on the device; None, with a warning, where it
    can't.
    """
    try:
        kernels: Any = import_module("variants.modules.lrn_triton")
    except ImportError:  # no Triton, which is optional
        return None
    try:
        kernels.forward(torch.ones(1, 1, device=device), 1, 1, 1.0, 0.75, 1.0)
    except (
        Exception
    ) as error:  # such as a machine without a C compiler, which Triton needs to launch a kernel
        warnings.warn(f"response normalisation runs without Triton, slower: {error}", stacklevel=2)
        return None
    return kernels


_connect(_across_maps, _across_maps_backward)
_connect(_within_map, _within_map_backward)
