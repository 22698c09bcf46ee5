"""The train loop: a generator of events. It knows no logger, no probe and no file; whoever wants to listen iterates.

Determinism: the same RunSpec on the same machine with the same thread count gives bit-identical losses, because
order, crops and noise are functions of (seed, epoch, image) and torch's generator (dropout) is seeded by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from harness.data.augment.transforms import Pixels
from harness.data.base import Batch, Loader
from harness.errors import RunFailed
from harness.events import Evaluated, Event, LrChanged, StepsDone, TrainingDone, TrainingStarted
from harness.loss import box_loss, classification_loss
from harness.optim import Sgd, colour_noise_on
from variants.modules.alexnet import AlexNet
from variants.recipes.recipe import Linear, Recipe

Clock = Callable[[], float]
Validate = Callable[[int, float], Evaluated]
WINDOW_STEPS = 20  # losses leave the device once a window: on a GPU a read a step would stall the queue


@dataclass
class _Window:
    """The steps since the last event."""

    started_s: float
    losses: list[torch.Tensor] = field(default_factory=list)
    wrong: list[torch.Tensor] = field(default_factory=list)
    images: int = 0
    wait_s: float = 0.0


@dataclass
class Trainer:
    """What a training needs, put together by run.py. `events()` runs it once, from the first step to the last."""

    model: AlexNet
    loader: Loader
    pixels: Pixels
    recipe: Recipe
    device: torch.device
    clock: Clock
    validate: Validate

    def __post_init__(self) -> None:
        self.optimizer = Sgd(self.model.named_parameters(), self.recipe, self.model.layer_of)
        self.steps = max(1, round(self.recipe.epochs * self.loader.batches))
        self.every = max(1, round(self.recipe.evaluation.every_epochs * self.loader.batches))
        self.reports_changes = not isinstance(
            self.recipe.schedule, Linear
        )  # which falls at every step; StepsDone tells its lr

    def events(self) -> Generator[Event, None, None]:
        """Yields TrainingStarted, StepsDone every 20 steps, LrChanged, Evaluated, TrainingDone. Raises RunFailed."""
        yield TrainingStarted(
            steps=self.steps,
            images_per_epoch=self.loader.images,
            parameters=sum(p.numel() for p in self.model.parameters()),
        )
        done = images = 0
        elapsed_s = wait_s = 0.0
        lr = self.recipe.lr
        window = _Window(self.clock())
        for batch, waited_s in self._batches():
            new_lr = self._step(window, batch, waited_s, done)
            done += 1
            if new_lr != lr:
                lr = new_lr
                if self.reports_changes:
                    yield LrChanged(step=done, epoch=self._epoch(done), lr=lr)
            validating = self._due(done)
            if len(window.losses) == WINDOW_STEPS or validating or done == self.steps:
                event = self._close(window, done, lr)
                images, elapsed_s, wait_s = images + event.images, elapsed_s + event.elapsed_s, wait_s + event.wait_s
                yield event
                if validating:
                    yield self._validated(done)
                window = _Window(self.clock())
        yield TrainingDone(steps=done, images=images, elapsed_s=elapsed_s, wait_s=wait_s)

    def _due(self, done: int) -> bool:
        """Whether to validate now; the final evaluation stands in for one that is due shortly before the end."""
        left = self.steps - done
        return self.recipe.evaluation.every_epochs > 0 and done % self.every == 0 and left >= max(1, self.every // 10)

    def _batches(self) -> Iterator[tuple[Batch, float]]:
        """Every batch of the run with the seconds spent waiting for it; leaves the loader's threads joined."""
        given = 0
        for epoch in range(math.ceil(self.steps / self.loader.batches)):
            with self.loader.epoch(epoch) as batches:
                while given < self.steps:
                    asked_s = self.clock()
                    batch = next(batches, None)
                    if batch is None:
                        break
                    given += 1
                    yield batch, self.clock() - asked_s

    def _step(self, window: _Window, batch: Batch, waited_s: float, done: int) -> float:
        epoch = self._epoch(done)
        colour = colour_noise_on(self.recipe.late_changes, epoch)
        images = self.pixels.train(batch, int(epoch), colour=colour)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = batch.labels.to(self.device, non_blocking=True)
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        with self._precision():
            logits, loss = self._loss(images, labels, batch, int(epoch))
        loss.backward()  # type: ignore[no-untyped-call]
        lr = self.optimizer.step(done, epoch)
        window.losses.append(loss.detach())
        window.wrong.append((logits.detach().argmax(1) != labels).sum())
        window.images += len(labels)
        window.wait_s += waited_s
        return lr

    def _loss(
        self, images: torch.Tensor, labels: torch.Tensor, batch: Batch, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        weight = self.recipe.loss.box_weight
        if self.model.spec.box is None or weight == 0.0:
            logits = self.model(images)
            return logits, classification_loss(logits, labels, self.recipe.loss)
        logits, boxes = self.model.forward_with_box(images)
        loss = classification_loss(logits, labels, self.recipe.loss)
        return logits, loss + weight * box_loss(boxes, self.pixels.train_boxes(batch, epoch))

    def _precision(self) -> torch.autocast | nullcontext[None]:
        if self.recipe.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _close(self, window: _Window, done: int, lr: float) -> StepsDone:
        losses = torch.stack(window.losses).tolist()  # waits for the device, so the clock below covers the work
        wrong = int(torch.stack(window.wrong).sum())
        first = done - len(losses) + 1
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise RunFailed(
                    f"the loss is {loss} at step {step} of {self.steps} (learning rate {lr:g}); "
                    "a lower learning rate, other initial biases or unscaled pixels are the usual cause"
                )
        return StepsDone(
            last_step=done,
            epoch=self._epoch(done),
            losses=tuple(losses),
            top1_error=wrong / window.images,
            lr=lr,
            images=window.images,
            elapsed_s=self.clock() - window.started_s,
            wait_s=window.wait_s,
        )

    def _validated(self, done: int) -> Evaluated:
        event = self.validate(done, self._epoch(done))
        self.optimizer.observe(event.top1_error)
        return event

    def _epoch(self, done: int) -> float:
        return done / self.loader.batches
