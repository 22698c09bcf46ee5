"""A run that goes on from a checkpoint is the run that never stopped, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_training import CPU, FakeLoader, net, pixels, recipe

from harness.checkpoint import KEPT, Checkpoints
from harness.errors import UsageError
from harness.events import Evaluated, Event, LrChanged, StepsDone, TrainingDone
from harness.records.record import Stamped
from harness.spec import DataSpec, RunSpec
from harness.train import TrainState, train
from variants.recipes.recipe import Augmentation, Evaluation, FixedDrops, LateChange, Plateau, Recipe

RECIPES = {
    "the paper's rule, drops, dropout": recipe(epochs=3.0, schedule=FixedDrops(at_epochs=(1.0, 2.0))),
    "a plateau with validations": recipe(
        epochs=4.0,
        schedule=Plateau(patience=1),
        evaluation=Evaluation(protocols=("centre",), every_epochs=0.5),
    ),
    "torch's rule, colour noise, late change": recipe(
        epochs=3.0,
        lr_inside_velocity=False,
        augmentation=Augmentation(colour_std=0.1),
        late_changes=(LateChange(at_epoch=1.5, layer="conv1", lr=0.0, colour_noise=False),),
        schedule=FixedDrops(at_epochs=(2.0,)),
    ),
    "the fused rule, whose velocities follow the lr": recipe(
        epochs=3.0, fused_update=True, lr=1e-3, schedule=FixedDrops(at_epochs=(1.0, 2.0))
    ),
    "the training set's error": recipe(
        epochs=3.0, evaluation=Evaluation(protocols=("centre",), every_epochs=0.5, training_error=True)
    ),
}
ORDERS = [[k, k + 1, k + 2] for k in range(0, 30, 3)]


def spec(rules: Recipe) -> RunSpec:
    data = DataSpec(name="tiny", listing="0", classes=10, train_images=30, val_images=30, store_size=10)
    return RunSpec(variant="tiny", geometry="mini", net=net().spec, recipe=rules, data=data, seed=0)


def begin(rules: Recipe) -> TrainState:
    torch.manual_seed(3)
    return TrainState.start(net(), rules)


def events(
    state: TrainState, rules: Recipe, stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    loader, evaluated = FakeLoader(30, ORDERS), {"val": FakeLoader(30, ORDERS)}
    if rules.evaluation.training_error:
        evaluated = {"train": FakeLoader(30, ORDERS), **evaluated}
    return train(state, loader, evaluated, pixels(rules, 30), rules, CPU, stop=stop)


def losses(found: list[Event]) -> list[float]:
    return [loss for event in found if isinstance(event, StepsDone) for loss in event.losses]


def others(found: list[Event]) -> list[object]:
    """What happened besides, without times."""
    kept = [event for event in found if isinstance(event, LrChanged | Evaluated)]
    return [
        (type(event), event.step, getattr(event, "lr", None), getattr(event, "loss", None))
        for event in kept
    ]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("at", [1, 7, 10, 15, 29])
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, name: str, at: int
) -> None:
    rules = RECIPES[name]
    whole_state = begin(rules)
    whole = list(events(whole_state, rules))

    stopped_state = begin(rules)
    before = list(events(stopped_state, rules, stop=lambda: stopped_state.done >= at))
    assert stopped_state.done == at
    checkpoints = Checkpoints(tmp_path, spec(rules), 600.0, lambda: 0.0)
    checkpoints.save(
        stopped_state, [Stamped(t_s=float(k), event=event) for k, event in enumerate(before)], "run-1"
    )

    torch.manual_seed(99)
    state = TrainState.start(net(), rules)
    found = checkpoints.load(state)
    assert found is not None
    assert [stamped.event for stamped in found.past] == before
    after = list(events(state, rules))

    assert losses(before) + losses(after) == losses(whole)
    assert others(before) + others(after) == others(whole)
    for one, other in zip(state.model.parameters(), whole_state.model.parameters(), strict=True):
        assert torch.equal(one, other)
    done = [event for event in after if isinstance(event, TrainingDone)]
    assert [(event.steps, event.images) for event in done] == [(whole_state.done, 3 * whole_state.done)]


def test_the_last_two_are_kept_and_a_torn_one_falls_back_on_the_one_before(tmp_path: Path) -> None:
    rules = recipe(epochs=1.0)
    state, checkpoints = begin(rules), Checkpoints(tmp_path, spec(rules), 600.0, lambda: 0.0)
    for step, event in enumerate(events(state, rules)):
        checkpoints.save(state, [Stamped(t_s=0.0, event=event)], "run-1")
        state.done += step == 0  # a step of its own for each file
    assert len(checkpoints.files()) <= KEPT
    newest = checkpoints.files()[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    found = checkpoints.load(begin(rules))
    assert found is None or f"{found.step:010d}" != newest.stem


def test_a_checkpoint_of_another_torch_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = recipe()
    checkpoints = Checkpoints(tmp_path, spec(rules), 600.0, lambda: 0.0)
    assert checkpoints.load(begin(rules)) is None
    checkpoints.save(begin(rules), [], "run-1")
    monkeypatch.setattr(torch, "__version__", "1.0.0")
    with pytest.raises(
        UsageError, match=r"has torch .*, but this is 1\.0\.0; .* start again with --fresh"
    ):
        checkpoints.load(begin(rules))


def test_one_is_due_after_the_time_and_at_an_epochs_end_but_never_before_a_validation(
    tmp_path: Path,
) -> None:
    now = [0.0]
    checkpoints = Checkpoints(tmp_path, spec(recipe()), 600.0, lambda: now[0])
    steps = StepsDone(
        last_step=20,
        epoch=1.5,
        losses=(1.0,),
        top1_error=0.5,
        lr=0.1,
        images=8,
        elapsed_s=1.0,
        wait_s=0.0,
    )
    assert not checkpoints.due(steps, False, at_once=False)
    assert checkpoints.due(steps, False, at_once=True)
    now[0] = 61.0
    assert checkpoints.due(steps, False, at_once=False)  # the first epoch has ended
    assert not checkpoints.due(steps, True, at_once=True)
    now[0] = 601.0
    assert checkpoints.due(steps, False, at_once=False)
