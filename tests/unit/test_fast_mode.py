"""Recipe.deterministic and torch's fills of new memory: what a run sets and records, and that no number changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from calling import run_on
from test_compiled import SMALL
from tiny_training import CPU, FakeLoader, in_batches, pixels, recipe

from harness.events import StepsDone
from harness.records.store import RunRecord
from harness.set_up import set_up_torch
from harness.train import TrainState, train
from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.modules.alexnet import build
from variants.spec import AlexNetSpec


@pytest.fixture(autouse=True)
def torch_as_before() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    benchmark, fill = (
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = benchmark
    torch.utils.deterministic.fill_uninitialized_memory = fill


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_sets_the_choice_of_algorithms(deterministic: bool) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = True
    set_up_torch(0, 1, deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_the_choice_is_recorded_in_spec_and_environment(
    call: Any, class_folders: Path, tmp_path: Path
) -> None:
    words = run_on(class_folders)
    assert call(*words, "--set", "deterministic=false").code == 0
    (record,) = (
        RunRecord.load(path) for path in (tmp_path / "results").iterdir() if path.name[0].isdigit()
    )
    settings = record.env.torch
    assert settings is not None
    assert (record.spec.recipe.deterministic, settings.deterministic, settings.cudnn_benchmark) == (
        False,
        False,
        True,
    )


def losses(spec: AlexNetSpec, side: int, fill: bool) -> list[float]:
    """Of three training steps, with torch's new memory filled with NaN or left as it is."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.manual_seed(0)
    rules = recipe(epochs=1.0)
    state = TrainState.start(build(spec, generator=torch.Generator().manual_seed(0)), rules)
    loader = FakeLoader(24, in_batches(24, 8), side=side)
    transform = pixels(rules)
    transform.size = side
    transform._centre = torch.full((3, 1, 1), 128.0)
    found = train(state, loader, {}, transform, rules, CPU)
    return [loss for event in found if isinstance(event, StepsDone) for loss in event.losses]


@pytest.mark.parametrize("name", ["small", "grouped_2gpu", "spatial_lrn", "cifar_13pct", "batch_norm"])
def test_no_code_here_reads_memory_that_it_has_not_written(name: str) -> None:
    """A NaN that is read would make the loss NaN. Equal losses show that the fills serve only to find such code."""
    row = CATALOG.get(name)
    spec = SMALL if row is None else spec_for(row, "mini" if "mini" in row.geometries else "cifar", 10)
    filled = losses(spec, spec.input_size, fill=True)
    assert len(filled) == 3
    assert losses(spec, spec.input_size, fill=False) == filled
