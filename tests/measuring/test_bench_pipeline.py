"""What limits training: a slow loader and a slow step are found to be it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from harness.bench import pipeline
from harness.bench.energy import Energy
from harness.bench.pipeline import PipelineResult
from harness.bench.step import Step
from harness.bench.timing import Window, Windows
from harness.data.base import Batch, Loader, LoaderChoice, Prepared
from harness.placement import Placement
from harness.spec import RunSpec

NO_ENERGY = Energy({}, {}, {})


def at(**speeds: float) -> Windows:
    """Five windows a way of so many images in a second."""
    windows = {name: [Window(0.0, 1.0, round(speed), 1.0)] * 5 for name, speed in speeds.items()}
    return Windows(6, True, windows)


@pytest.mark.parametrize(
    ("loader", "step", "bound_by", "without"),
    [
        (100.0, 1000.0, "loader", 1000.0),
        (1000.0, 100.0, "step", 1000.0),
        (1000.0, 1100.0, "both", 1100.0),
    ],
)
def test_the_slower_of_the_two_limits_training(
    loader: float, step: float, bound_by: str, without: float
) -> None:
    measured = at(both=min(loader, step), loader=loader, step=step)
    found = PipelineResult(measured, LoaderChoice(name="folder", reason="a test"), NO_ENERGY)
    assert (found.bound_by, found.without_bound) == (bound_by, without)


@pytest.mark.parametrize("slow", ["loader", "step"])
def test_what_was_made_slow_is_found_to_be_the_bound(
    measured: tuple[RunSpec, Prepared], slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader, or a step, that sleeps so long at every batch that any other cost is small beside it."""
    spec, prepared = measured
    spec = replace(spec, recipe=replace(spec.recipe, batch_size=8))
    opened, called = pipeline.training_loader, Step.__call__

    def slowed(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            time.sleep(0.3)
            yield batch

    def slow_loader(*given: Any) -> Loader:
        loader = opened(*given)
        epoch = loader.epoch

        @contextmanager
        def slow_epoch(number: int) -> Iterator[Iterator[Batch]]:
            with epoch(number) as batches:
                yield slowed(islice(batches, 1))

        monkeypatch.setattr(loader, "epoch", slow_epoch)
        return loader

    def slow_step(self: Step) -> int:
        time.sleep(0.3)
        return called(self)

    if slow == "loader":
        monkeypatch.setattr(pipeline, "training_loader", slow_loader)
    else:
        monkeypatch.setattr(Step, "__call__", slow_step)
    monkeypatch.setattr("harness.bench.step.WINDOW_S", 0.01)
    monkeypatch.setattr("harness.bench.pipeline.WINDOW_S", 0.01)
    monkeypatch.setattr("harness.bench.pipeline.WINDOW_BATCHES", 2)
    monkeypatch.setattr("harness.bench.timing.MOST_WARM_UPS", 1)
    found = pipeline.measure_pipeline(spec, prepared, Placement(loader="folder"), 2)
    assert found.bound_by == slow
    alone = found.windows.timings()
    other = "step" if slow == "loader" else "loader"
    assert found.without_bound == alone[other].images_per_second > alone[slow].images_per_second


def test_both_together_leaves_the_batch_of_the_step_alone(measured: tuple[RunSpec, Prepared]) -> None:
    """An epoch ends with a short batch; the step that is measured alone must not get it."""
    spec, prepared = measured
    step = Step(spec, torch.device("cpu"))
    own = step.images
    assert pipeline._both(spec, prepared, Placement(loader="folder"), step, 160)() == 160
    assert step.images is own
