"""Measures the training step on one batch that stays in memory: forward, backward, update, without
loading.

Its time is set beside the least that it could be at the rates that this machine reaches in the same run
(roofline.py), and beside other software that trains the same network (step_peers.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeAlias

import torch

from harness.bench.ceilings import Rates, rate_probes, rates
from harness.bench.energy import Energy, watching
from harness.bench.repeating import finish
from harness.bench.roofline import Roofline, layer_work, roofline
from harness.bench.timing import Way, Windows, interleaved
from harness.gpu_memory import peak_gpu_mib, reset_peak_gpu_memory
from harness.loss import maybe_compiled
from harness.machine.allocator import keep_freed_memory
from harness.precision import autocast, float32_precision
from harness.spec import RunSpec
from harness.train import TrainState
from variants.modules.alexnet import build

WINDOW_S = 0.7  # a window has as many steps as fit into this time, but at least one
PARTS_COVER = 0.95  # forward, backward and update take at least this share of their windows' time
Mark: TypeAlias = "float | torch.cuda.Event"  # a moment: seconds, or what a GPU reaches later


class Parts(NamedTuple):
    """Seconds of a step: forward (with the gradients' reset), backward, update."""

    forward_s: float
    backward_s: float
    update_s: float


@dataclass(frozen=True)
class StepResult:
    """windows: of "step", of what it is compared with, and of the probes of `rates`, whose medians are
    `rates`. roofline: at the highest of them, since it is a bound.

    parts: of each of the step's windows, means over its steps. flop_per_image: multiply-accumulates of
    forward and backward, twice. peak_memory_mib: on a GPU what torch's tensors held at most; on the CPU
    the most memory that this process had in RAM, with its libraries; None where that can't be read.
    energy: of the step's windows.
    """

    windows: Windows
    parts: tuple[Parts, ...]
    flop_per_image: int
    batch_size: int
    rates: Rates
    roofline: Roofline
    peak_memory_mib: float | None
    energy: Energy

    @property
    def images_per_second(self) -> float:
        return self.windows.timing("step").images_per_second

    @property
    def part_ms(self) -> Parts:
        """Milliseconds of the three parts: medians over the windows."""
        return Parts(*(1000 * median(part) for part in zip(*self.parts, strict=True)))

    @property
    def parts_cover(self) -> float:
        """The three parts of all steps as a fraction of the time of their windows."""
        held = self.windows.of["step"]
        steps = [window.images / self.batch_size for window in held]
        measured_s = sum(sum(parts) * each for parts, each in zip(self.parts, steps, strict=True))
        return measured_s / sum(window.end_s - window.start_s for window in held)

    @property
    def share_of_gemm(self) -> float:
        """The step's FLOP/s as a fraction of those of a matrix product."""
        return self.images_per_second * self.flop_per_image / self.rates.gemm_flops

    @property
    def share_of_conv(self) -> float:
        """The same of those of the net's largest convolution."""
        return self.images_per_second * self.flop_per_image / self.rates.conv_flops


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
        images, labels = random_batch(spec, generator)
        self.images = images.to(device).contiguous(memory_format=torch.channels_last)
        self.labels = labels.to(device)
        self.parts: list[Parts] = []  # of each window
        self._marks: list[tuple[Mark, Mark, Mark, Mark]] = []  # of each step since the last window

    def __call__(self) -> int:
        """One step; returns the number of images. A GPU may still be at it: see `finish`."""
        started = self._now()
        self.state.optimizer.zero_grad()
        with float32_precision(self.recipe.precision), autocast(self.recipe.precision, self.device):
            _, loss = self.loss_of(self.state.model, self.images, self.labels, None, self.recipe.loss)
        forward_done = self._now()
        loss.backward()  # type: ignore[no-untyped-call]
        backward_done = self._now()
        self.state.scheduler.step(0, 0.0)
        self.state.optimizer.step()
        self._marks.append((started, forward_done, backward_done, self._now()))
        return len(self.labels)

    def finish(self) -> None:
        """Wait for the end of the steps, and keep the mean of their parts as those of one window."""
        finish(self.device)
        each = [tuple(map(_seconds, marks, marks[1:])) for marks in self._marks]
        self.parts.append(Parts(*(sum(part) / len(each) for part in zip(*each, strict=True))))
        self._marks.clear()

    def window(self) -> Way:
        """As many steps at a time as take about WINDOW_S."""
        for _ in range(2):  # the first step sets things up
            self()
            self.finish()
        steps = max(1, round(WINDOW_S / max(sum(self.parts[-1]), 1e-9)))

        def window() -> int:
            images = sum(self() for _ in range(steps))
            self.finish()
            return images

        return window

    def _now(self) -> Mark:
        if self.device.type != "cuda":
            return time.perf_counter()
        # waiting for the GPU within a step would leave it idle between kernels
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event


def _seconds(first: Mark, second: Mark) -> float:
    """Between two moments, both of which have come."""
    if isinstance(first, torch.cuda.Event) and isinstance(second, torch.cuda.Event):
        return float(first.elapsed_time(second)) / 1000
    assert isinstance(first, float)
    assert isinstance(second, float)
    return second - first


def measure_step(
    spec: RunSpec, device: torch.device, windows: int, others: Mapping[str, Way] | None = None
) -> StepResult:
    """Measure the training step of a run, `others` by name, and what this machine reaches at most, all
    alternately.
    """
    step = Step(spec, device)
    way = step.window()
    peak_mib = _peak_memory_mib(way, device)  # before anything else needs memory
    ways = {"step": way, **(others or {}), **rate_probes(spec, device)}
    with watching(str(device)) as watch:
        measured = interleaved(ways, windows)
    timings = measured.timings()
    step_s = spec.recipe.batch_size / timings["step"].images_per_second
    highest = rates(spec, {name: timing.highest for name, timing in timings.items()})
    return StepResult(
        windows=measured,
        parts=tuple(step.parts[-windows:]),
        flop_per_image=flop_per_image(spec),
        batch_size=spec.recipe.batch_size,
        rates=rates(spec, {name: timing.images_per_second for name, timing in timings.items()}),
        roofline=roofline(spec, highest, step_s),
        peak_memory_mib=peak_mib,
        energy=watch.of(measured, "step"),
    )


def flop_per_image(spec: RunSpec) -> int:
    """Of one training step: two for a multiply-accumulate, once forward and twice backward.

    The first layer has no gradient by its input, the image.
    """
    return 2 * sum(work.macs for work in layer_work(spec)) // spec.recipe.batch_size


def random_batch(spec: RunSpec, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (N, channels, size, size), float32, with a standard deviation of 60; labels (N,), int64."""
    net, batch = spec.net, spec.recipe.batch_size
    shape = (batch, net.input_channels, net.input_size, net.input_size)
    images = torch.randn(shape, generator=generator).mul_(60)
    return images, torch.randint(net.classes, (batch,), generator=generator)


def _peak_memory_mib(window: Way, device: torch.device) -> float | None:
    """What one window needs at most."""
    if device.type == "cuda":
        reset_peak_gpu_memory(device)
        window()
        return peak_gpu_mib(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the kernel's peak
        window()
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:  # another system than Linux, or a container that forbids it
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return round(int(lines[0].split()[1]) / 1024, 1) if lines else None
