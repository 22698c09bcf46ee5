"""Times each layer's forward and backward pass on its own, and sets it beside the least time that it
could take at the rates measured in the same run: a roofline per layer.

The layer gets its input from memory, and the whole batch stays there. Unlike in the network, a ReLU is
not in place here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.bench.ceilings import Ceilings, ceiling_probes, ceilings
from harness.bench.repeating import as_often_as_fits
from harness.bench.roofline import LayerWork, layer_work
from harness.bench.timing import Window, Windows, interleaved
from harness.errors import RunFailed
from harness.machine.allocator import keep_freed_memory
from harness.precision import autocast, float32_precision
from harness.records.bench import LayerTime
from harness.spec import RunSpec
from variants.modules.alexnet import build

LAYER_WINDOW_S = 0.1
ABOVE_BOUND = (
    "{name} takes {ms:.3f} ms, less than the {least_ms:.3f} ms that its {bound} needs at the highest rate "
    "measured here; so the {what} was measured too low, as happens beside other load. Measure again on an "
    "idle machine"
)


class CeilingTooLowError(RunFailed):
    """A layer is faster than what counts as the most that this machine does."""


@dataclass(frozen=True)
class LayersResult:
    """layers: in the order of the forward pass. windows: of "layers", that is all of them one after
    another.
    """

    layers: tuple[LayerTime, ...]
    ceilings: Ceilings
    windows: Windows


def measure_layers(spec: RunSpec, device: torch.device, windows: int) -> LayersResult:
    """Measure every layer and the ceilings alternately.

    Raises CeilingTooLowError where a layer is faster than its bound.
    """
    keep_freed_memory()
    generator = torch.Generator().manual_seed(spec.seed)
    net = build(spec.net, generator=generator).to(device).to(memory_format=torch.channels_last).train()
    work = layer_work(spec)
    ways = {
        f"layer {each.row.layer.name}": _passes(
            net.get_submodule(each.row.layer.name), each, spec, device, first=place == 0
        )
        for place, each in enumerate(work)
    }
    measured = interleaved(ways | ceiling_probes(spec, device), windows)
    reached = ceilings(spec, measured)
    layers = tuple(
        layer_time(
            each, reached, 1000 / measured.timing(f"layer {each.row.layer.name}").images_per_second
        )
        for each in work
    )
    refuse_above_bound(layers)
    return LayersResult(layers, reached, _one_after_another(measured, ways, spec.recipe.batch_size))


def _one_after_another(measured: Windows, layers: Iterable[str], batch: int) -> Windows:
    """The windows of "layers": a pass of each layer takes as long as it did in the windows of that
    number.
    """
    passes = [measured.of[name] for name in layers]
    wall_s = [sum(1 / each.speed for each in held) for held in zip(*passes, strict=True)]
    cpu_s = [sum(1 / each.cpu_speed for each in held) for held in zip(*passes, strict=True)]
    held = [Window(0.0, wall, batch, cpu) for wall, cpu in zip(wall_s, cpu_s, strict=True)]
    return Windows(measured.warm_ups, measured.steady, {"layers": held})


def layer_time(work: LayerWork, reached: Ceilings, ms: float) -> LayerTime:
    """The layer beside its bound. ms: what its two passes take."""
    flops = reached.conv_flops if work.on_maps else reached.gemm_flops
    needed_ms = 1000 * 2 * work.macs / flops
    moved_ms = 1000 * work.bytes / reached.bytes_per_second(work.set_bytes)
    return LayerTime(
        name=work.row.layer.name,
        kind=work.row.layer.kind,
        macs=work.macs,
        bytes=work.bytes,
        set_bytes=work.set_bytes,
        ms=ms,
        least_ms=max(needed_ms, moved_ms),
        bound="arithmetic" if needed_ms >= moved_ms else "memory",
    )


def refuse_above_bound(layers: tuple[LayerTime, ...]) -> None:
    """Raise CeilingTooLowError for the layer that exceeds its bound most, if any does."""
    fastest = max(layers, key=lambda layer: layer.reached)
    if fastest.reached > 1:
        what = "bandwidth of copying" if fastest.bound == "memory" else "rate of arithmetic"
        raise CeilingTooLowError(ABOVE_BOUND.format(**vars(fastest), what=what))


def _passes(
    module: nn.Module, work: LayerWork, spec: RunSpec, device: torch.device, *, first: bool
) -> Callable[[], int]:
    """Forward and backward as often as takes about LAYER_WINDOW_S; returns how often."""
    if isinstance(module, nn.ReLU):
        module = nn.ReLU()  # in place it would change its input, which is used again here
    batch, row = spec.recipe.batch_size, work.row
    flat = row.layer.kind == "dense" or row.input[1:] == (1, 1)
    inputs = _random((batch, row.input[0]) if flat else (batch, *row.input), device)
    inputs.requires_grad_(not first)
    wanted = [*module.parameters(), *(() if first else (inputs,))]

    def forward() -> Tensor:
        with float32_precision(spec.recipe.precision), autocast(spec.recipe.precision, device):
            made: Tensor = module(inputs)
        return made

    made = forward()
    above = _random(tuple(made.shape), device).to(made.dtype)

    def both() -> None:
        torch.autograd.grad(forward(), wanted, above)

    return as_often_as_fits(both, LAYER_WINDOW_S, device)


def _random(shape: tuple[int, ...], device: torch.device) -> Tensor:
    made = torch.randn(shape, device=device)
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else made
