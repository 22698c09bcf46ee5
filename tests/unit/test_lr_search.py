"""Epochs to a training error, and a study that searches a learning rate first."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.manifest import StoreSettings
from harness.events import Evaluated, Event
from harness.records.learning_curve import Point, crossing, reached, training_curve
from harness.resolve import RunRequest
from harness.spec import RunSpec
from harness.studies.rows import STUDIES
from harness.studies.runs import plan
from harness.studies.study import SEARCH_SEED, LrSearch

CHANCE = Point(epoch=0.0, error=0.9)


class Trained:
    """A record with these training errors after epochs 1, 2, and so on."""

    def __init__(self, spec: RunSpec, errors: list[float], reason: str | None = None) -> None:
        self.spec, self.errors = spec, errors
        self.summary = SimpleNamespace(status="failed" if reason else "ok", status_reason=reason)

    def events(self) -> list[Event]:
        return [
            self._evaluated(epoch, error, split)
            for epoch, error in enumerate(self.errors, 1)
            for split in SPLITS
        ]

    def _evaluated(self, epoch: int, error: float, split: str) -> Event:
        error = error if split == "train" else 1.0
        return Evaluated(
            step=epoch, epoch=epoch, protocol="centre", final=False, top1_error=error, top5_error=0.0, loss=1.0,
            images=10, elapsed_s=1.0, split=split,  # type: ignore[arg-type]
        )  # fmt: skip


SPLITS = ("train", "val")
STUDY = replace(
    STUDIES["figure1"],
    data="synthetic",
    seeds=2,
    searches=(
        LrSearch(
            variant="cifar_4layer_tanh", rates=(0.001, 0.002, 0.004), search_epochs=3.0, epochs=6.0
        ),
        LrSearch(variant="cifar_4layer_relu", rates=(0.001, 0.002), search_epochs=2.0, epochs=4.0),
    ),
)
REQUEST = RunRequest("cifar_4layer_relu", "cifar_2012", "synthetic", 0, overrides=STUDY.settings)


def planned(records: list[Trained]) -> tuple[list[tuple[str, float, int]], list[RunSpec]]:
    synthetic = prepare_synthetic(StoreSettings(store_size=32, limit=(4, 4)))
    found = plan(STUDY, REQUEST, synthetic, "cpu", records)  # type: ignore[arg-type]
    return [(spec.variant[13:], spec.recipe.lr, spec.seed) for spec in found.requests], list(found.todo)


def test_the_crossing_is_interpolated_between_two_evaluations() -> None:
    curve = (
        CHANCE,
        Point(epoch=1.0, error=0.4),
        Point(epoch=2.0, error=0.3),
        Point(epoch=3.0, error=0.2),
    )
    assert crossing(curve, 0.25) == pytest.approx(2.5)
    # from the error of guessing before the first step
    assert crossing(curve, 0.65) == pytest.approx(0.5)
    assert crossing(curve, 0.2) is None  # 0.2 is not below 0.2
    assert crossing(curve[:3], 0.25) is None


def test_a_study_knows_its_searches_first_and_its_runs_once_all_searches_are_done() -> None:
    names, todo = planned([])
    search = [("tanh", 0.001), ("tanh", 0.002), ("tanh", 0.004), ("relu", 0.001), ("relu", 0.002)]
    assert names == [(*pair, SEARCH_SEED) for pair in search]
    assert [spec.recipe.epochs for spec in todo] == [3.0, 3.0, 3.0, 2.0, 2.0]
    errors = {("tanh", 0.001): [0.5, 0.4, 0.3], ("tanh", 0.002): [0.5, 0.2], ("tanh", 0.004): [0.5, 0.4, 0.2],
              ("relu", 0.001): [0.5, 0.4], ("relu", 0.002): [0.6, 0.5]}  # fmt: skip
    records = [Trained(spec, errors[name[0], name[1]]) for spec, name in zip(todo, names, strict=True)]
    assert planned(records[:4])[0] == names
    names, todo = planned(records)
    best = [("tanh", 0.002, 0), ("relu", 0.001, 0), ("tanh", 0.002, 1), ("relu", 0.001, 1)]
    neighbours = [("tanh", 0.001), ("tanh", 0.004), ("relu", 0.002)]  # 0.001 is the lowest of the grid
    assert names[5:] == best + [(*pair, seed) for seed in (0, 1) for pair in neighbours]
    assert [spec.recipe.epochs for spec in todo[:2]] == [6.0, 4.0]
    assert todo[0].recipe.stop_below == 0.25


def test_a_run_whose_loss_was_not_finite_is_the_worst_of_a_search_and_is_not_repeated() -> None:
    _, todo = planned([])
    records = [Trained(spec, [0.5]) for spec in todo]
    records[1] = Trained(todo[1], [0.3], "the loss is nan at step 3 of 9")
    names, left = planned(records)
    assert names[5][:2] == ("tanh", 0.001)  # the first of two equal ones
    assert not {spec.digest for spec in left} & {spec.digest for spec in todo}
    assert reached(records[1], 0.35).epochs is None  # type: ignore[arg-type]
    lost = Trained(todo[1], [0.3], "it was killed")
    assert todo[1] in planned([*records[:1], lost, *records[2:]])[1]


def test_the_curve_holds_the_evaluations_on_the_training_set_only() -> None:
    _, todo = planned([])
    assert training_curve(Trained(todo[0], [0.5, 0.4])) == (  # type: ignore[arg-type]
        Point(epoch=1.0, error=0.5),
        Point(epoch=2.0, error=0.4),
    )
