"""Measures the loader, the training step, and both together, to find which of the two limits
training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch

from harness.bench.loader import WINDOW_BATCHES, batches_of
from harness.bench.step import WINDOW_S, Step
from harness.bench.timing import Timing, interleaved
from harness.data.augment.transforms import ImageTransform
from harness.data.base import Prepared
from harness.data.prefetch import ahead
from harness.placement import Placement
from harness.set_up import training_loader
from harness.spec import RunSpec

BALANCED = 0.15  # if the two speeds differ by less than this fraction, both limit training


@dataclass(frozen=True)
class PipelineResult:
    """loader, step: each alone. both: the loader's batches, transformed and trained on."""

    loader: Timing
    step: Timing
    both: Timing

    @property
    def bound_by(self) -> Literal["loader", "step", "both"]:
        ratio = self.loader.images_per_second / self.step.images_per_second
        if abs(ratio - 1) < BALANCED:
            return "both"
        return "loader" if ratio < 1 else "step"

    @property
    def without_bound(self) -> float:
        """Images per second to expect if the slower of the two took no time."""
        return max(self.loader.images_per_second, self.step.images_per_second)


def measure_pipeline(
    spec: RunSpec, prepared: Prepared, where: Placement, windows: int
) -> PipelineResult:
    """Measure the three alternately. Each window of `both` has as many images as one of the step."""
    step = Step(spec, torch.device(where.device))
    step_window = step.window()
    images = max(
        spec.recipe.batch_size,
        round(WINDOW_S * spec.recipe.batch_size / max(sum(step.parts[-1]), 1e-9)),
    )
    loader_window = batches_of(
        training_loader(spec, prepared, where), WINDOW_BATCHES * spec.recipe.batch_size
    )
    timings = interleaved(
        {
            "loader": loader_window,
            "step": step_window,
            "both": _both(spec, prepared, where, step, images),
        },
        windows,
    )
    return PipelineResult(**timings)


def _both(
    spec: RunSpec, prepared: Prepared, where: Placement, step: Step, images: int
) -> Callable[[], int]:
    transform = ImageTransform(prepared, spec.recipe, spec.net.input_size, spec.seed, step.device)
    loader, epochs = training_loader(spec, prepared, where), count()

    def window() -> int:
        """It leaves the step's own batch as it was: the window of the step alone comes next."""
        taken, own = 0, (step.images, step.labels)
        while taken < images:
            epoch = next(epochs)
            with loader.epoch(epoch) as batches:
                for batch in ahead(batches, step.device):
                    step.images = transform.train(batch, epoch).contiguous(
                        memory_format=torch.channels_last
                    )
                    step.labels = batch.labels.to(step.device)
                    taken += step()
                    if taken >= images:
                        break
        step.images, step.labels = own
        return taken

    return window
