"""The train loop: which events, in which order, with which sums; and losses that follow from recipe and seed alone."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

import pytest
import torch
from tiny_training import BOXED, CPU, NET, STORED, FakeLoader, in_batches, net, pixels, recipe

from harness.data.augment.transforms import ImageTransform
from harness.errors import RunFailed
from harness.evaluate import evaluate
from harness.events import Evaluated, Event, LrChanged, StepsDone, TrainingDone, TrainingStarted
from harness.loss import box_loss, classification_loss
from harness.train import WINDOW_STEPS, TrainState, shortest, train
from variants.modules.alexnet import AlexNet
from variants.recipes.recipe import (
    Augmentation,
    Evaluation,
    FixedDrops,
    LateChange,
    Linear,
    Loss,
    Plateau,
    Recipe,
)
from variants.spec import AlexNetSpec

IMAGES, BATCH = 20, 8  # 3 batches an epoch, the last of 4


class Ticks:
    """A clock that advances by one second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@dataclass
class Training:
    """The arguments of train(), which a test may change before it asks for the events."""

    model: AlexNet
    loader: FakeLoader
    val_loader: FakeLoader
    pixels: ImageTransform
    recipe: Recipe

    def events(self) -> Generator[Event, None, None]:
        state = TrainState.start(self.model, self.recipe)
        return train(
            state, self.loader, {"val": self.val_loader}, self.pixels, self.recipe, CPU, Ticks()
        )


def training(rules: Recipe, spec: AlexNetSpec = NET, loader: FakeLoader | None = None) -> Training:
    torch.manual_seed(0)
    batches = in_batches(IMAGES, BATCH)
    val_loader = FakeLoader(IMAGES, batches, side=STORED)
    return Training(
        net(spec), loader or FakeLoader(IMAGES, batches), val_loader, pixels(rules, IMAGES), rules
    )


def events(rules: Recipe, spec: AlexNetSpec = NET) -> list[Event]:
    return list(training(rules, spec).events())


def losses(found: list[Event]) -> list[float]:
    return [loss for event in found if isinstance(event, StepsDone) for loss in event.losses]


def validating(every: float) -> Evaluation:
    return Evaluation(protocols=("centre",), every_epochs=every)


def test_events_come_in_order() -> None:
    found = events(
        recipe(epochs=2.0, evaluation=validating(1.0), schedule=FixedDrops(at_epochs=(1.0,)))
    )
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
    """The clock advances by 1 s a reading: two a step, before and after the batch, and one at a window's ends."""
    (window,) = [event for event in events(recipe(epochs=1.0)) if isinstance(event, StepsDone)]
    assert window.wait_s == 3.0
    assert window.elapsed_s == 2 * 3 + 1


def test_evaluations_are_no_training_time() -> None:
    quiet, busy = (events(recipe(epochs=4.0, evaluation=validating(every)))[-1] for every in (0.0, 1.0))
    assert isinstance(quiet, TrainingDone)
    assert isinstance(busy, TrainingDone)
    assert busy.wait_s == quiet.wait_s
    assert busy.elapsed_s == quiet.elapsed_s + 3  # three more windows, each ends with a reading of 1 s


def test_a_run_shorter_than_an_epoch_has_its_fraction_of_the_steps() -> None:
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
    """The lr is too low to change a single answer, so the validation error stays the same."""
    rules = recipe(
        epochs=4.0, lr=1e-12, schedule=Plateau(patience=2, drops=1), evaluation=validating(1.0)
    )
    found = events(rules)
    validations = [event for event in found if isinstance(event, Evaluated)]
    assert [event.step for event in validations] == [3, 6, 9]
    assert len({event.top1_error for event in validations}) == 1
    assert [event.step for event in found if isinstance(event, LrChanged)] == [10]


def test_a_validation_reports_what_an_evaluation_of_the_weights_of_that_step_gives() -> None:
    made = training(recipe(epochs=2.0, lr=0.01, evaluation=validating(1.0)))
    (event,) = [event for event in made.events() if isinstance(event, Evaluated)]
    again = training(recipe(epochs=1.0, lr=0.01))
    list(again.events())
    results = evaluate(again.model, again.val_loader, again.pixels, ["centre"], CPU, "fp32")[
        "centre"
    ].result()
    assert (event.step, event.epoch, event.protocol, event.final) == (3, 1.0, "centre", False)
    assert (event.top1_error, event.top5_error, event.loss) == (
        results.top1_error,
        results.top5_error,
        results.loss,
    )
    assert event.images == IMAGES


def test_validating_more_often_changes_no_loss() -> None:
    """An evaluation leaves the network in evaluation mode, in which dropout is off."""
    seldom, often = (
        losses(events(recipe(epochs=4.0, evaluation=validating(every)))) for every in (0.0, 0.34)
    )
    assert len(seldom) == 12
    assert seldom == often


def test_the_same_seed_gives_the_same_losses_and_dropout_another_seed_others() -> None:
    first, again = losses(events(recipe())), losses(events(recipe()))
    made = training(recipe())
    torch.manual_seed(1)
    assert first == again
    assert losses(list(made.events())) != first


def test_a_frozen_layer_stays_the_same_from_its_epoch_on() -> None:
    late = (LateChange(at_epoch=1.0, layer="conv1", lr=0.0),)
    # a validation after every step
    made = training(recipe(epochs=2.0, late_changes=late, evaluation=validating(0.33)))
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
    rules = recipe(
        loss=Loss(box_weight=3.0),
        augmentation=Augmentation(crop="centre", mirror=False, colour_std=0.0),
    )
    made = training(rules, BOXED, FakeLoader(IMAGES, in_batches(IMAGES, BATCH), boxes=boxes))
    with made.loader.epoch(0) as batches:
        batch = next(batches)
    torch.manual_seed(5)
    made.model.train()
    images = made.pixels.train(batch, 0).contiguous(memory_format=torch.channels_last)
    logits, found = made.model.forward_with_box(images)
    want = classification_loss(logits, batch.labels, rules.loss)
    want = want + 3.0 * box_loss(found, made.pixels.train_boxes(batch, 0))
    torch.manual_seed(5)
    assert losses(list(made.events()))[0] == shortest(want.detach()[None])[0]


def test_without_a_weight_the_box_head_is_left_alone() -> None:
    made = training(recipe(), BOXED)
    before = made.model.get_parameter("box.weight").detach().clone()
    list(made.events())
    assert torch.equal(made.model.get_parameter("box.weight"), before)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(broken: float) -> None:
    made = training(recipe(epochs=2.0))
    steps = iter(range(6))

    def poisoned(images: torch.Tensor) -> torch.Tensor:
        factor = broken if next(steps) == 3 else 1.0
        return original(images) * factor

    original = made.model.forward
    made.model.forward = poisoned  # type: ignore[method-assign, assignment]
    with pytest.raises(
        RunFailed,
        match=r"^the loss is nan at step 4 of 6 \(learning rate 0\.0001\); it usually helps to lower",
    ):
        list(made.events())


def test_leaving_the_events_early_leaves_the_loader_too() -> None:
    made = training(recipe(epochs=15.0))
    with closing(made.events()) as found:
        assert isinstance(next(found), TrainingStarted)
        assert isinstance(next(found), StepsDone)
        left = made.loader.left
    assert made.loader.left == left + 1


def test_a_step_that_fails_leaves_the_loader_before_the_error_arrives() -> None:
    made = training(recipe())

    def refuse(images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory")

    made.model.forward = refuse  # type: ignore[method-assign, assignment]
    try:
        list(made.events())
    except RuntimeError:
        assert made.loader.left == 1


def test_bf16_trains_in_bfloat16_and_computes_its_loss_in_float32() -> None:
    made = training(recipe(precision="bf16", epochs=1.0))
    seen: list[torch.dtype] = []
    made.model.get_submodule("conv1").register_forward_hook(
        lambda module, given, out: seen.append(out.dtype)
    )
    found = losses(list(made.events()))
    assert set(seen) == {torch.bfloat16}
    assert found != losses(events(recipe(epochs=1.0)))
    assert all(weight.dtype == torch.float32 for weight in made.model.parameters())
    assert any(torch.tensor(loss).bfloat16().item() != loss for loss in found)


def test_validations_run_in_the_precision_of_training() -> None:
    made = training(recipe(precision="bf16", epochs=2.0, evaluation=validating(1.0)))
    seen: list[torch.dtype] = []

    def note(module: torch.nn.Module, given: object, out: torch.Tensor) -> None:
        if not module.training:
            seen.append(out.dtype)

    made.model.get_submodule("conv1").register_forward_hook(note)
    list(made.events())
    assert set(seen) == {torch.bfloat16}


def test_clipping_scales_the_whole_gradient_to_the_norm() -> None:
    """One step without momentum moves all weights together by lr times the clipped norm."""
    rules = recipe(clip_norm=0.5, momentum=0.0, weight_decay=0.0, lr=0.01, epochs=0.3)
    made = training(rules)
    before = [weight.detach().clone() for weight in made.model.parameters()]
    list(made.events())
    moved = torch.cat(
        [(w - old).flatten() for w, old in zip(made.model.parameters(), before, strict=True)]
    )
    # torch divides by norm + 1e-6; weights of about 1 round at 6e-8
    assert moved.norm().item() == pytest.approx(0.01 * 0.5, rel=1e-4)


def test_the_training_set_is_evaluated_before_the_validation_set_and_may_end_training() -> None:
    evaluation = Evaluation(protocols=("centre",), every_epochs=1.0, training_error=True)
    rules = recipe(epochs=5.0, evaluation=evaluation)
    orders = in_batches(16, 8)
    loaders = {"train": FakeLoader(16, orders), "val": FakeLoader(16, orders)}

    def events(rules: Recipe) -> list[Event]:
        state = TrainState.start(net(), rules)
        return list(train(state, FakeLoader(16, orders), loaders, pixels(rules, 16), rules, CPU))

    found = [event for event in events(rules) if isinstance(event, Evaluated)]
    assert [event.split for event in found] == ["train", "val"] * 5  # at the end, too
    assert found[0].images == 16
    stopped = events(replace(rules, stop_below=1.1))  # every error is below
    assert [type(event).__name__ for event in stopped] == [
        "TrainingStarted", "StepsDone", "Evaluated", "Evaluated", "TrainingDone",
    ]  # fmt: skip
    assert isinstance(stopped[-1], TrainingDone)
    assert stopped[-1].steps == len(orders)


def test_recorded_losses_are_the_shortest_numbers_of_their_float32() -> None:
    exact = torch.tensor([0.1, 1.4652341604232788, 3e-9])
    assert shortest(exact) == [0.1, 1.4652342, 3e-9]
    assert torch.equal(torch.tensor(shortest(exact)), exact)


def test_weights_that_training_leaves_as_they_were_are_named() -> None:
    made = training(recipe(epochs=0.3))
    layer = made.model.get_submodule("conv1")
    layer.weight.register_hook(torch.zeros_like)  # type: ignore[union-attr, operator]
    done = list(made.events())[-1]
    assert isinstance(done, TrainingDone)
    assert done.unchanged == ()  # weight decay moves it
    rules = recipe(epochs=0.3, weight_decay=0.0)
    made = training(rules)
    made.model.get_submodule("conv1").weight.register_hook(torch.zeros_like)  # type: ignore[union-attr, operator]
    done = list(made.events())[-1]
    assert isinstance(done, TrainingDone)
    assert done.unchanged == ("conv1.weight",)
