"""SGD as the paper writes it (sec. 5) and as the 2012 code runs it (weights.cu): the lr stands inside the velocity.

    v <- momentum * v - decay * lr * w - lr * gradient;    w <- w + v

torch.optim.SGD keeps the lr outside the velocity; the two part after every drop of the lr, because here the old
velocity keeps the old lr's size. Recipe.lr_inside_velocity=False gives torch's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from variants.recipes.recipe import (
    EverySteps,
    ExpSteps,
    FixedDrops,
    LateChange,
    Linear,
    ParamGroup,
    Plateau,
    Recipe,
    Schedule,
)

LayerOf = Callable[[str], tuple[str, str, str]]
ANY = ParamGroup()


class LrSchedule:
    """The factor on the recipe's lr at a step. Only a plateau needs `observe`, after each validation."""

    def __init__(self, schedule: Schedule, epochs: float) -> None:
        self.schedule = schedule
        self.epochs = epochs
        self.dropped = 0
        self._best = float("inf")
        self._worse = 0

    def factor(self, step: int, epoch: float) -> float:
        """`step` counts updates from 0, `epoch` passes over the data from 0.0."""
        plan = self.schedule
        if isinstance(plan, FixedDrops):
            return float(plan.factor ** sum(epoch >= drop for drop in plan.at_epochs))
        if isinstance(plan, EverySteps):
            return float(plan.factor ** (step // plan.steps))
        if isinstance(plan, ExpSteps):
            stage = min(int(epoch / self.epochs * plan.steps), plan.steps - 1)
            return float(plan.divisor ** (-stage / max(plan.steps - 1, 1)))
        if isinstance(plan, Linear):
            return max(0.0, 1.0 - epoch / self.epochs)
        return float(plan.factor**self.dropped)

    def observe(self, error: float) -> None:
        """Tell the schedule the held-out top-1 error of one more epoch."""
        if not isinstance(self.schedule, Plateau):
            return
        self._worse = 0 if error < self._best else self._worse + 1
        self._best = min(self._best, error)
        if self._worse >= self.schedule.patience and self.dropped < self.schedule.drops:
            self.dropped, self._worse = self.dropped + 1, 0


@dataclass
class _Parameters:
    """Parameters that one call of the update rule handles: one group, and one layer and role if late changes need it.

    layer, role: "" where no late change tells them apart; a role is "weight" or "bias".
    """

    layer: str
    role: str
    group: ParamGroup
    schedule: LrSchedule
    weights: list[torch.Tensor] = field(default_factory=list)
    velocities: list[torch.Tensor] = field(default_factory=list)


class Sgd:
    """The recipe's update rule over named parameters. Decay, lr and schedule are chosen by a parameter's type."""

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]], recipe: Recipe, layer_of: LayerOf) -> None:
        self.recipe = recipe
        self.schedule = LrSchedule(recipe.schedule, recipe.epochs)
        self._sets: dict[tuple[str, str, ParamGroup], _Parameters] = {}
        singled_out = {change.layer for change in recipe.late_changes}
        for name, parameter in named:
            layer, kind, role = layer_of(name)
            group = next((g for g in recipe.groups if _matches(g, layer, kind, role)), ANY)
            schedule = LrSchedule(group.schedule, recipe.epochs) if group.schedule else self.schedule
            layer = layer if layer in singled_out else ""
            role = role if any(change.parameter for change in recipe.late_changes) else ""
            one = self._sets.setdefault((layer, role, group), _Parameters(layer, role, group, schedule))
            one.weights.append(parameter)
            one.velocities.append(torch.zeros_like(parameter))

    @torch.no_grad()
    def step(self, step: int, epoch: float) -> float:
        """Update every weight from its gradient; returns the recipe's lr (before factors) at this step."""
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                [w for one in self._sets.values() for w in one.weights], self.recipe.clip_norm
            )
        for one in self._sets.values():
            lr = self.recipe.lr * one.schedule.factor(step, epoch) * one.group.lr_factor
            lr = self._late_lr(one, epoch, lr)
            if lr > 0.0 and any(w.grad is not None for w in one.weights):
                self._update(one, lr)
        return self.recipe.lr * self.schedule.factor(step, epoch)

    def _late_lr(self, one: _Parameters, epoch: float, lr: float) -> float:
        """The absolute rate of the last late change that holds for these parameters at `epoch`, else `lr`."""
        for change in self.recipe.late_changes:
            holds = change.layer in (None, one.layer) and change.parameter in (None, one.role)
            if change.lr is not None and epoch >= change.at_epoch and holds:
                lr = change.lr
        return lr

    def observe(self, error: float) -> None:
        """Tell every schedule the held-out top-1 error of one more validation."""
        for schedule in {id(one.schedule): one.schedule for one in self._sets.values()}.values():
            schedule.observe(error)

    def _update(self, one: _Parameters, lr: float) -> None:
        live = [(w, w.grad, v) for w, v in zip(one.weights, one.velocities, strict=True) if w.grad is not None]
        weights, gradients, velocities = (list(column) for column in zip(*live, strict=True))
        momentum, decay = self.recipe.momentum, self.recipe.weight_decay * one.group.weight_decay_factor
        if decay:
            torch._foreach_add_(gradients, weights, alpha=decay)  # gradients are zeroed before the next step
        torch._foreach_mul_(velocities, momentum)
        if self.recipe.lr_inside_velocity:
            torch._foreach_add_(velocities, gradients, alpha=-lr)
            moves, scale, push = velocities, 1.0, -lr
        else:
            torch._foreach_add_(velocities, gradients)
            moves, scale, push = velocities, -lr, -lr
        if self.recipe.nesterov:
            torch._foreach_add_(weights, moves, alpha=scale * momentum)
            torch._foreach_add_(weights, gradients, alpha=push)
        else:
            torch._foreach_add_(weights, moves, alpha=scale)


def _matches(group: ParamGroup, layer: str, kind: str, role: str) -> bool:
    return group.layer in (None, layer, kind) and group.parameter in (None, role)


def colour_noise_on(late: tuple[LateChange, ...], epoch: float) -> bool:
    """Whether PCA colour noise is still drawn at `epoch` (the 2012 code switched it off at epoch 67 of run 145)."""
    states = [c.colour_noise for c in late if c.colour_noise is not None and epoch >= c.at_epoch]
    return states[-1] if states else True
