"""The same spec and seed give the same bits: in fresh processes, through either loader, however often validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faulty import start

from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.events import StepsDone
from harness.placement import LoaderName, Placement
from harness.records.store import RunRecord, Store
from harness.resolve import RunRequest, run_spec
from harness.run import execute
from variants.recipes.recipe import Augmentation, Evaluation

ROOT = Path(__file__).parents[2]


def losses(record: RunRecord) -> list[float]:
    return [loss for event in record.events() if isinstance(event, StepsDone) for loss in event.losses]


def assert_same_bits(one: RunRecord, other: RunRecord) -> None:
    assert losses(one) == losses(other)
    assert one.summary.results == other.summary.results
    assert (one.array("conv1") == other.array("conv1")).all()
    for protocol in one.summary.results:
        for k in (1, 5):
            assert np.array_equal(one.correct(protocol, k), other.correct(protocol, k))


def test_the_same_run_in_two_fresh_processes_gives_the_same_bits(
    class_folders: Path, tmp_path: Path
) -> None:
    """Side by side, so that neither has the machine for itself; each with results of its own."""
    cache = tmp_path / "cache"
    words = (
        "run",
        "--variant",
        "grouped_2gpu",
        "--data",
        "folder",
        "--path",
        str(class_folders),
        "--threads",
        "1",
    )
    processes = [start(cache, *words, "--results", tmp_path / name) for name in ("one", "two")]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    (one,), (two,) = (Store(tmp_path / name).records() for name in ("one", "two"))
    assert one.summary.spec_digest == two.summary.spec_digest
    assert losses(one)
    assert_same_bits(one, two)


Execute = Callable[..., RunRecord]


@pytest.fixture
def executed(class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Three epochs of two batches in this process, with every random draw the recipe knows."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    numbers = iter(range(9))

    def run(loader: LoaderName = "folder", **changes: float) -> RunRecord:
        prepared = prepare(
            "folder", StoreSettings(store_size=36), path=class_folders, loader=loader, workers=1
        )
        spec = run_spec(RunRequest("grouped_2gpu", "mini", "folder", 0), prepared, "cpu")
        noisy = Augmentation(colour_std=0.5, colour_scale="std")
        rules = replace(spec.recipe, batch_size=8, epochs=3.0, augmentation=noisy)
        rules = replace(
            rules, evaluation=Evaluation(protocols=("centre",), every_epochs=changes.get("every", 1.0))
        )
        spec = replace(spec, recipe=rules, seed=int(changes.get("seed", 0)))
        where = Placement(threads=1, workers=int(changes.get("workers", 0)), loader=loader)
        return execute(spec, prepared, Store(tmp_path / f"results{next(numbers)}"), where)

    return run


pytestmark = pytest.mark.usefixtures("torch_as_before")


def test_both_loaders_give_the_same_bits(executed: Execute) -> None:
    pytest.importorskip("ffcv")
    folder, ffcv, many = executed("folder"), executed("ffcv", workers=1), executed("ffcv", workers=3)
    assert [record.summary.loader for record in (folder, ffcv, many)] == ["folder", "ffcv", "ffcv"]
    assert len(losses(folder)) == 6
    assert_same_bits(folder, ffcv)
    assert_same_bits(ffcv, many)


def test_validating_more_often_changes_no_training_loss(executed: Execute) -> None:
    seldom, often = executed(every=0.0), executed(every=0.5)
    counts = [sum(event.kind == "evaluated" for event in record.events()) for record in (seldom, often)]
    assert counts == [1, 6]
    assert losses(seldom) == losses(often)
    assert seldom.summary.results == often.summary.results


def test_another_seed_gives_other_losses_from_the_first_step_on(executed: Execute) -> None:
    one, other = losses(executed(seed=0)), losses(executed(seed=1))
    assert one[0] != other[0]


def test_a_run_is_not_changed_by_the_one_before_it(executed: Execute) -> None:
    """Workers go from run to run: no generator may carry over."""
    first = executed(seed=0)
    executed(seed=1)
    assert_same_bits(first, executed(seed=0))
