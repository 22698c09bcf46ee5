"""The train loop: which events, in which order, with which sums; and losses that follow from recipe and seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import torch
from tiny_training import BOXED, CPU, NET, FakeLoader, in_batches, net, pixels, recipe

from harness.errors import RunFailed
from harness.events import Evaluated, Event, LrChanged, StepsDone, TrainingDone, TrainingStarted
from harness.loss import box_loss, classification_loss
from harness.train import WINDOW_STEPS, Trainer
from variants.recipes.recipe import Augmentation, Evaluation, FixedDrops, LateChange, Linear, Loss, Plateau, Recipe
from variants.spec import AlexNetSpec

IMAGES, BATCH = 20, 8  # 3 batches an epoch, the last of 4


class Ticks:
    """A clock that goes on by one second with every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Validation:
    """Stands in for an evaluation; remembers when it was asked."""

    def __init__(self, errors: Iterator[float] | None = None) -> None:
        self.asked: list[int] = []
        self._errors = errors

    def __call__(self, step: int, epoch: float) -> Evaluated:
        self.asked.append(step)
        error = next(self._errors) if self._errors else 0.5
        return Evaluated(
            step=step, epoch=epoch, protocol="centre", final=False, top1_error=error, top5_error=0.0, loss=1.0,
            images=1, elapsed_s=0.0,
        )  # fmt: skip


def trainer(rules: Recipe, spec: AlexNetSpec = NET, validate: Validation | None = None, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    loader = changes.get("loader") or FakeLoader(IMAGES, in_batches(IMAGES, BATCH))
    return Trainer(net(spec), loader, pixels(rules, IMAGES), rules, CPU, Ticks(), validate or Validation())


def events(rules: Recipe, spec: AlexNetSpec = NET, validate: Validation | None = None, **changes: Any) -> list[Event]:
    return list(trainer(rules, spec, validate, **changes).events())


def losses(found: list[Event]) -> list[float]:
    return [loss for event in found if isinstance(event, StepsDone) for loss in event.losses]


def validating(every: float) -> Evaluation:
    return Evaluation(protocols=("centre",), every_epochs=every)


def test_events_come_in_order() -> None:
    found = events(recipe(epochs=2.0, evaluation=validating(1.0), schedule=FixedDrops(at_epochs=(1.0,))))
    assert [type(event) for event in found] == [
        TrainingStarted, StepsDone, Evaluated, LrChanged, StepsDone, TrainingDone,
    ]  # fmt: skip
    assert found[0] == TrainingStarted(steps=6, images_per_epoch=IMAGES, parameters=NET.parameters)


def test_windows_hold_every_step_and_image_once() -> None:
    found = events(recipe(epochs=15.0))
    windows = [event for event in found if isinstance(event, StepsDone)]
    assert [len(window.losses) for window in windows] == [WINDOW_STEPS, WINDOW_STEPS, 5]
    assert [window.last_step for window in windows] == [20, 40, 45]
    assert sum(window.images for window in windows) == 15 * IMAGES
    done = found[-1]
    assert isinstance(done, TrainingDone)
    assert (done.steps, done.images) == (45, 15 * IMAGES)
    assert done.elapsed_s == sum(window.elapsed_s for window in windows)
    assert done.wait_s == sum(window.wait_s for window in windows)


def test_waiting_is_the_time_between_asking_for_a_batch_and_having_it() -> None:
    """The clock goes on by 1 s a look: two looks a step, before and after the batch, and one at a window's ends."""
    (window,) = [event for event in events(recipe(epochs=1.0)) if isinstance(event, StepsDone)]
    assert window.wait_s == 3.0
    assert window.elapsed_s == 2 * 3 + 1


def test_evaluations_are_no_training_time() -> None:
    quiet, busy = (events(recipe(epochs=4.0, evaluation=validating(every)))[-1] for every in (0.0, 1.0))
    assert isinstance(quiet, TrainingDone)
    assert isinstance(busy, TrainingDone)
    assert busy.wait_s == quiet.wait_s
    assert busy.elapsed_s == quiet.elapsed_s + 3  # three more windows, each a look of 1 s


def test_a_run_shorter_than_an_epoch_has_its_share_of_the_steps() -> None:
    found = events(recipe(epochs=0.7))
    assert len(losses(found)) == 2
    assert len(losses(events(recipe(epochs=0.01)))) == 1


def test_every_drop_of_the_learning_rate_is_reported_with_its_step() -> None:
    """Rates hold from the step after the epoch was reached: 3 steps an epoch, so epoch 1 begins with step 4."""
    found = events(recipe(epochs=3.0, lr=0.01, schedule=FixedDrops(at_epochs=(1.0, 2.0))))
    drops = [event for event in found if isinstance(event, LrChanged)]
    assert [event.step for event in drops] == [4, 7]
    assert [event.lr for event in drops] == pytest.approx([0.001, 0.0001])
    last = [event for event in found if isinstance(event, StepsDone)][-1]
    assert last.lr == pytest.approx(0.0001)


def test_a_learning_rate_that_falls_all_the_time_is_reported_by_the_windows_only() -> None:
    found = events(recipe(epochs=10.0, lr=0.01, schedule=Linear()))
    assert not [event for event in found if isinstance(event, LrChanged)]
    rates = [event.lr for event in found if isinstance(event, StepsDone)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0] < 0.01


def test_a_plateau_drops_the_learning_rate_after_the_validation_that_shows_it() -> None:
    validate = Validation(iter([0.5, 0.5, 0.5, 0.5]))
    rules = recipe(epochs=4.0, lr=0.01, schedule=Plateau(patience=2, drops=1), evaluation=validating(1.0))
    drops = [event.step for event in events(rules, validate=validate) if isinstance(event, LrChanged)]
    assert validate.asked == [3, 6, 9]
    assert drops == [10]


def test_validating_more_often_changes_no_loss() -> None:
    """An evaluation leaves the network in evaluation mode, in which dropout is off."""

    def found(every: float) -> list[float]:
        made = trainer(recipe(epochs=4.0, evaluation=validating(every)))
        validate = made.validate
        made.validate = lambda step, epoch: (made.model.eval(), validate(step, epoch))[1]
        return losses(list(made.events()))

    seldom, often = found(0.0), found(0.34)
    assert len(seldom) == 12
    assert seldom == often


def test_the_same_seed_gives_the_same_losses_and_dropout_another_seed_others() -> None:
    first, again = losses(events(recipe())), losses(events(recipe()))
    made = trainer(recipe())
    torch.manual_seed(1)
    assert first == again
    assert losses(list(made.events())) != first


def test_a_frozen_layer_stands_still_from_its_epoch_on() -> None:
    late = (LateChange(at_epoch=1.0, layer="conv1", lr=0.0),)
    made = trainer(recipe(epochs=2.0, late_changes=late, evaluation=validating(0.33)))  # a validation after every step
    kernels = made.model.get_parameter("conv1.weight")
    states = [kernels.detach().clone() for event in made.events() if isinstance(event, StepsDone)]
    assert len(states) == 6
    assert not torch.equal(states[1], states[2])
    assert all(torch.equal(state, states[2]) for state in states[3:])


def test_late_colour_noise_is_switched_off() -> None:
    noisy = recipe(augmentation=Augmentation(colour_std=0.5, colour_scale="std"))
    switched = recipe(
        augmentation=Augmentation(colour_std=0.5, colour_scale="std"),
        late_changes=(LateChange(at_epoch=1.0, colour_noise=False),),
    )
    with_noise, without = losses(events(noisy)), losses(events(switched))
    assert with_noise[:3] == without[:3]
    assert with_noise[3:] != without[3:]


def test_the_box_head_adds_its_weighted_loss() -> None:
    boxes = torch.rand(IMAGES, 4, generator=torch.Generator().manual_seed(2))
    rules = recipe(loss=Loss(box_weight=3.0), augmentation=Augmentation(crop="centre", mirror=False, colour_std=0.0))
    made = trainer(rules, BOXED, loader=FakeLoader(IMAGES, in_batches(IMAGES, BATCH), boxes=boxes))
    with made.loader.epoch(0) as batches:
        batch = next(batches)
    torch.manual_seed(5)
    made.model.train()
    images = made.pixels.train(batch, 0).contiguous(memory_format=torch.channels_last)
    logits, found = made.model.forward_with_box(images)
    want = classification_loss(logits, batch.labels, rules.loss)
    want = want + 3.0 * box_loss(found, made.pixels.train_boxes(batch, 0))
    torch.manual_seed(5)
    assert losses(list(made.events()))[0] == want.item()


def test_without_a_weight_the_box_head_is_left_alone() -> None:
    made = trainer(recipe(), BOXED)
    before = made.model.get_parameter("box.weight").detach().clone()
    list(made.events())
    assert torch.equal(made.model.get_parameter("box.weight"), before)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(broken: float) -> None:
    made = trainer(recipe(epochs=2.0))
    steps = iter(range(6))

    def poisoned(images: torch.Tensor) -> torch.Tensor:
        factor = broken if next(steps) == 3 else 1.0
        return original(images) * factor

    original = made.model.forward
    made.model.forward = poisoned  # type: ignore[method-assign, assignment]
    with pytest.raises(
        RunFailed, match=r"^the loss is nan at step 4 of 6 \(learning rate 0\.0001\); a lower learning rate"
    ):
        list(made.events())


def test_leaving_the_events_early_leaves_the_loader_too() -> None:
    made = trainer(recipe(epochs=15.0))
    with closing(made.events()) as found:
        assert isinstance(next(found), TrainingStarted)
        assert isinstance(next(found), StepsDone)
        left = made.loader.left  # type: ignore[attr-defined]
    assert made.loader.left == left + 1  # type: ignore[attr-defined]


def test_a_step_that_fails_leaves_the_loader_before_the_error_arrives() -> None:
    made = trainer(recipe())

    def refuse(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory")

    made.model.forward = refuse  # type: ignore[method-assign, assignment]
    try:
        list(made.events())
    except RuntimeError:
        assert made.loader.left == 1  # type: ignore[attr-defined]
