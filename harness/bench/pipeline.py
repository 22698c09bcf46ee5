"""Measures the loader, the training step, and both together, to find which of the two limits
training.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Literal

import torch

from harness.bench.energy import Energy, watching
from harness.bench.loader import WINDOW_BATCHES, batches_of
from harness.bench.step import WINDOW_S, Step
from harness.bench.timing import Way, Windows, interleaved
from harness.data.augment.transforms import ImageTransform
from harness.data.base import LoaderChoice, Prepared
from harness.data.prefetch import ahead
from harness.placement import Placement
from harness.set_up import training_loader
from harness.spec import RunSpec

BALANCED = 0.15  # if the two speeds differ by less than this fraction, both limit training


@dataclass(frozen=True)
class PipelineResult:
    """windows: of "both", the loader's batches, transformed and trained on, and of "loader" and "step"
    alone. choice: which loader it is, and why. energy: of the windows of both.
    """

    windows: Windows
    choice: LoaderChoice
    energy: Energy

    @property
    def bound_by(self) -> Literal["loader", "step", "both"]:
        loader, step = self._alone()
        if abs(loader / step - 1) < BALANCED:
            return "both"
        return "loader" if loader < step else "step"

    @property
    def without_bound(self) -> float:
        """Images per second to expect if the slower of the two took no time."""
        return max(self._alone())

    def _alone(self) -> tuple[float, float]:
        """Images per second of loader and step."""
        loader, step = (self.windows.timing(name).images_per_second for name in ("loader", "step"))
        return loader, step


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
    loader = training_loader(spec, prepared, where)
    ways = {
        "both": _both(spec, prepared, where, step, images),
        "loader": batches_of(loader, WINDOW_BATCHES * spec.recipe.batch_size),
        "step": step_window,
    }
    with watching(where.device) as watch:
        measured = interleaved(ways, windows)
    return PipelineResult(measured, loader.choice, watch.of(measured, "both"))


def _both(spec: RunSpec, prepared: Prepared, where: Placement, step: Step, images: int) -> Way:
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
        step.finish()
        step.images, step.labels = own
        return taken

    return window
