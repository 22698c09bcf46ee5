"""Measures the training step on one batch that stays in memory: forward, backward, update, without
loading.

Its time is set beside the least that it could be at the rates that this machine reaches in the same run
(roofline.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from harness.bench.roofline import Rates, Roofline, probes, rates, roofline
from harness.bench.timing import Timing, interleaved
from harness.loss import maybe_compiled
from harness.machine.allocator import keep_freed_memory
from harness.precision import autocast, float32_precision
from harness.spec import RunSpec
from harness.train import TrainState
from variants.layers import Conv
from variants.modules.alexnet import build
from variants.spec import AlexNetSpec

WINDOW_S = 0.7  # a window has as many steps as fit into this time, but at least one


@dataclass(frozen=True)
class StepResult:
    """timing: of the whole step. forward_ms, backward_ms, update_ms: medians of a step's parts.

    flop_per_image: multiply-accumulates of forward and backward, twice. share_of_gemm: the step's
    FLOP/s as a fraction of those of a matrix product.
    """

    timing: Timing
    forward_ms: float
    backward_ms: float
    update_ms: float
    flop_per_image: int
    rates: Rates
    roofline: Roofline

    @property
    def share_of_gemm(self) -> float:
        return self.timing.images_per_second * self.flop_per_image / self.rates.gemm_flops


class Step:
    """A network, its optimizer and a resident batch of random pixels; calling it trains for one
    step.
    """

    def __init__(self, spec: RunSpec, device: torch.device) -> None:
        keep_freed_memory()
        self.recipe, self.device = spec.recipe, device
        self.loss_of = maybe_compiled(spec.recipe)
        generator = torch.Generator().manual_seed(spec.seed)
        model = (
            build(spec.net, generator=generator)
            .to(device)
            .to(memory_format=torch.channels_last)
            .train()
        )
        self.state = TrainState.start(model, spec.recipe)
        shape = (
            spec.recipe.batch_size,
            spec.net.input_channels,
            spec.net.input_size,
            spec.net.input_size,
        )
        images = torch.randn(shape, generator=generator).mul_(60)
        self.images = images.to(device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(spec.net.classes, (shape[0],), generator=generator).to(device)
        self.parts: list[tuple[float, float, float]] = []  # seconds of forward, backward, update
        self.steps = 1  # in a window

    def __call__(self) -> int:
        """One step, its parts timed; returns the number of images."""
        times = [self._now()]
        self.state.optimizer.zero_grad()
        with float32_precision(self.recipe.precision), autocast(self.recipe.precision, self.device):
            _, loss = self.loss_of(self.state.model, self.images, self.labels, None, self.recipe.loss)
        times.append(self._now())
        loss.backward()  # type: ignore[no-untyped-call]
        times.append(self._now())
        self.state.scheduler.step(0, 0.0)
        self.state.optimizer.step()
        times.append(self._now())
        self.parts.append((times[1] - times[0], times[2] - times[1], times[3] - times[2]))
        return len(self.labels)

    def window(self) -> Callable[[], int]:
        """As many steps at a time as take about WINDOW_S."""
        self()
        self.steps = max(1, round(WINDOW_S / max(sum(self.parts[-1]), 1e-9)))
        return lambda: sum(self() for _ in range(self.steps))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def measure_step(spec: RunSpec, device: torch.device, windows: int) -> StepResult:
    """Measure the training step of a run and, alternately, what this machine reaches at most."""
    step = Step(spec, device)
    way = step.window()
    timings = interleaved({"step": way, **probes(spec, device)}, windows)
    forward_s, backward_s, update_s = (
        median(part) for part in zip(*step.parts[-windows * step.steps :], strict=True)
    )
    timing = timings.pop("step")
    reached = rates(spec, {name: each.images_per_second for name, each in timings.items()})
    return StepResult(
        timing=timing,
        forward_ms=1000 * forward_s,
        backward_ms=1000 * backward_s,
        update_ms=1000 * update_s,
        flop_per_image=flop_per_image(spec.net),
        rates=reached,
        roofline=roofline(spec, reached, spec.recipe.batch_size / timing.images_per_second),
    )


def flop_per_image(net: AlexNetSpec) -> int:
    """Of one training step: two for a multiply-accumulate, once forward and twice backward.

    The first convolution has no gradient by its input, the image.
    """
    first = next(row for row in net.rows if isinstance(row.layer, Conv))
    return 2 * (3 * net.macs - first.macs)
