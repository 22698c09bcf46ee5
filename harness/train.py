"""The train loop, a generator of events. It uses no logger, probe or file; the caller iterates over the
events.

Determinism: the same RunSpec on the same machine with the same thread count gives bit-identical losses,
because order, crops and noise are functions of (seed, epoch, image) and torch's generator (dropout) is
seeded by the caller. The caller also sets the run's precision (harness/precision.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import torch

from harness.data.augment.transforms import ImageTransform
from harness.data.base import Batch, Loader
from harness.data.names import Split
from harness.data.prefetch import ahead
from harness.distributed.data_parallel import has_box_loss, loss_function, seed_dropout
from harness.distributed.ranks import ALONE, Ranks
from harness.distributed.tower_parallel import clip_gradients
from harness.errors import NOT_FINITE, RunFailed
from harness.evaluate import evaluate, evaluated
from harness.events import Event, LrChanged, StepsDone, TrainingDone, TrainingStarted
from harness.optim import LrScheduler, colour_noise_on, make_optimizer
from harness.precision import autocast
from variants.modules.network import Network
from variants.recipes.recipe import Linear, Recipe

Clock = Callable[[], float]
# losses are copied from the device once per window; copying each one would make a GPU wait
WINDOW_STEPS = 20


@dataclass
class Total:
    """Sums over the windows."""

    images: int = 0
    elapsed_s: float = 0.0
    wait_s: float = 0.0

    def add(self, window: StepsDone) -> None:
        self.images += window.images
        self.elapsed_s += window.elapsed_s
        self.wait_s += window.wait_s


@dataclass
class TrainState:
    """Everything that training changes, except torch's random generators; checkpoint.py saves and loads
    it.

    initial: sums over the weights before the first step, by name. done: steps so far.
    lr: of the last step, before the groups' factors. finished: recipe.stop_below was reached.
    """

    model: Network
    optimizer: torch.optim.Optimizer
    scheduler: LrScheduler
    lr: float
    initial: dict[str, tuple[float, float]]
    done: int = 0
    finished: bool = False
    total: Total = field(default_factory=Total)

    @classmethod
    def start(cls, model: Network, recipe: Recipe) -> TrainState:
        """The state before the first step."""
        optimizer = make_optimizer(model.named_parameters(), recipe, model.layer_of)
        return cls(model, optimizer, LrScheduler(optimizer, recipe), recipe.lr, weight_sums(model))

    def unchanged(self) -> tuple[str, ...]:
        """The names of the weights whose sums are those of before the first step."""
        now = weight_sums(self.model)
        return tuple(name for name, sums in self.initial.items() if now[name] == sums)


def train(
    state: TrainState,
    loader: Loader,
    eval_loaders: Mapping[Split, Loader],
    pixels: ImageTransform,
    recipe: Recipe,
    device: torch.device,
    clock: Clock = time.perf_counter,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Generator[Event, None, None]:
    """Train `state.model` in place, from step `state.done` to the last. clock: seconds.

    Yields TrainingStarted, StepsDone every 20 steps, LrChanged, Evaluated, TrainingDone. Raises
    RunFailed.
    eval_loaders: the splits that are evaluated while training goes on, the validation set last.
    stop: asked after every step; once it is True the loop ends with that step, after its events.
    ranks: those that train together, each on its slice of every batch or with its tower of the net; the
    events are those of the whole batches.
    """
    model, optimizer, scheduler = state.model, state.optimizer, state.scheduler
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    steps, protocol = total_steps(recipe, loader), recipe.evaluation.protocols[0]
    compute_loss = loss_function(model, ranks, recipe, device)
    if state.done == 0:
        yield TrainingStarted(
            steps=steps, images_per_epoch=loader.images, parameters=model.spec.parameters
        )
    window = Window(clock())
    for epoch in range(state.done // loader.batches, math.ceil(steps / loader.batches)):
        if state.finished:
            break
        with loader.epoch(epoch) as batches:
            todo = islice(batches, state.done - epoch * loader.batches, steps - epoch * loader.batches)
            for batch, wait_s in timed(ahead(todo, device), clock):
                epochs_done = state.done / loader.batches  # a fraction, such as 0.25
                images = pixels.train(
                    batch, epoch, colour=colour_noise_on(recipe.late_changes, epochs_done)
                )
                images = images.contiguous(memory_format=torch.channels_last)
                labels = batch.labels.to(device, non_blocking=True)
                boxes = pixels.train_boxes(batch, epoch) if has_box_loss(model, recipe) else None

                model.train()
                optimizer.zero_grad()
                seed_dropout(model, ranks, pixels.seed, state.done)
                with autocast(recipe.precision, device):
                    logits, loss = compute_loss(images, labels, boxes, recipe.loss, batch.fraction)
                loss.backward()  # type: ignore[no-untyped-call]
                if recipe.clip_norm is not None:
                    clip_gradients(model, weights, recipe.clip_norm, ranks)
                lr_before, state.lr = state.lr, scheduler.step(state.done, epochs_done)
                optimizer.step()

                state.done += 1
                epochs_done, stopping = state.done / loader.batches, stop()
                wrong = (logits.detach().argmax(1) != labels[: len(logits)]).sum()
                window.add(loss.detach(), wrong, batch.whole or len(labels), wait_s)
                # Linear changes it at every step
                if state.lr != lr_before and not isinstance(recipe.schedule, Linear):
                    yield LrChanged(step=state.done, epoch=epochs_done, lr=state.lr)
                validating = validation_due(state.done, steps, recipe, loader)
                if len(window.losses) == WINDOW_STEPS or validating or stopping or state.done == steps:
                    steps_done = window.close(state.done, steps, epochs_done, state.lr, clock, ranks)
                    state.total.add(steps_done)
                    yield steps_done
                    for split, eval_loader in eval_loaders.items() if validating else ():
                        started_s = clock()
                        found = evaluate(
                            model,
                            eval_loader,
                            pixels,
                            [protocol],
                            device,
                            recipe.precision,
                            ranks=ranks,
                        )
                        elapsed_s = clock() - started_s
                        event = evaluated(
                            found[protocol], protocol, state.done, epochs_done, elapsed_s, split=split
                        )
                        if split == "val":
                            scheduler.observe(event.top1_error)
                        elif recipe.stop_below is not None and event.top1_error < recipe.stop_below:
                            state.finished = True
                        yield event
                    window = Window(clock())
                if state.finished:
                    break
                if stopping and state.done < steps:
                    return
    done, total = state.done, state.total
    yield TrainingDone(
        steps=done,
        images=total.images,
        elapsed_s=total.elapsed_s,
        wait_s=total.wait_s,
        unchanged=tuple(
            dict.fromkeys(name for names in ranks.gather(state.unchanged()) for name in names)
        ),
    )


def weight_sums(model: torch.nn.Module) -> dict[str, tuple[float, float]]:
    """The sum and the sum of squares of each trained tensor, by name."""
    sums = {name: weight.detach().double() for name, weight in model.named_parameters()}
    return {name: (float(weight.sum()), float(weight.square().sum())) for name, weight in sums.items()}


def total_steps(recipe: Recipe, loader: Loader) -> int:
    """Number of updates of the whole training; recipe.epochs may be a fraction."""
    return max(1, round(recipe.epochs * loader.batches))


def validation_due(done: int, steps: int, recipe: Recipe, loader: Loader) -> bool:
    """Whether to validate after `done` steps; not shortly before the end, when the final evaluation
    follows.

    The final evaluation does not include the training set, so a recipe with training_error validates at
    the end, too.
    """
    every = max(1, round(recipe.evaluation.every_epochs * loader.batches))
    if recipe.evaluation.training_error and done == steps:
        return True
    return (
        recipe.evaluation.every_epochs > 0 and done % every == 0 and steps - done >= max(1, every // 10)
    )


def timed(batches: Iterator[Batch], clock: Clock) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds spent waiting for it."""
    asked_s = clock()
    for batch in batches:
        yield batch, clock() - asked_s
        asked_s = clock()


def shortest(losses: torch.Tensor) -> list[float]:
    """Each float32 as the number with the fewest decimal digits that rounds to it; records need half
    the space.
    """
    return [float(str(loss)) for loss in losses.cpu().numpy()]


@dataclass
class Window:
    """The steps since the last StepsDone; losses and wrong answers stay on the device.

    With several ranks, losses and wrong answers are this rank's parts of them, and images are all
    ranks'.
    """

    started_s: float
    losses: list[torch.Tensor] = field(default_factory=list)
    wrong: list[torch.Tensor] = field(default_factory=list)
    images: int = 0
    wait_s: float = 0.0

    def add(self, loss: torch.Tensor, wrong: torch.Tensor, images: int, wait_s: float) -> None:
        self.losses.append(loss)
        self.wrong.append(wrong)
        self.images += images
        self.wait_s += wait_s

    def close(
        self, done: int, steps: int, epoch: float, lr: float, clock: Clock, ranks: Ranks = ALONE
    ) -> StepsDone:
        """The event of this window, which ends with step `done`.

        Raises RunFailed where a loss is not finite.
        """
        # waits for the device, so the clock covers it
        losses = shortest(ranks.sum(torch.stack(self.losses).float()))
        wrong = int(ranks.sum(torch.stack(self.wrong).sum()))
        for step, loss in enumerate(losses, start=done - len(losses) + 1):
            if not math.isfinite(loss):
                raise RunFailed(
                    f"{NOT_FINITE} {loss} at step {step} of {steps} (learning rate {lr:g}); it usually "
                    "helps to lower the learning rate, change the initial biases or scale the pixels"
                )
        return StepsDone(
            last_step=done,
            epoch=epoch,
            losses=tuple(losses),
            top1_error=wrong / self.images,
            lr=lr,
            images=self.images,
            elapsed_s=clock() - self.started_s,
            wait_s=self.wait_s,
        )
