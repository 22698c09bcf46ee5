"""The paper's update rule (sec. 5; weights.cu of the 2012 code) as a torch optimizer, and the schedules
of its lr.

    v <- momentum * v - weight_decay * lr * w - lr * gradient;    w <- w + v

torch.optim.SGD keeps the lr outside the velocity; the two differ after every drop of the lr, because
here the old velocity keeps the old lr's size. Recipe.lr_inside_velocity=False trains with
torch.optim.SGD itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.optim.sgd import sgd as fused_sgd

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
Named = Iterable[tuple[str, torch.nn.Parameter]]


class PaperSGD(torch.optim.Optimizer):
    """SGD with momentum and the lr inside the velocity. Its state is the velocities, in the parameters'
    dtype.

    A step reads or writes a tensor of the weights' size 11 times.

    A group whose lr is 0 is frozen: neither its weights nor its velocities change. nesterov: the weight
    moves by momentum * v - lr * gradient with the new v (and the gradient with its weight decay).
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight that has a gradient; gradients stay as they are.

        Returns closure()'s loss, if given.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights or group["lr"] <= 0.0:
                continue
            self._update(group, weights, [weight.grad for weight in weights])
        return loss

    def _update(self, group: dict[str, Any], weights: list[torch.Tensor], gradients: list[Any]) -> None:
        """Change the weights of one group in place."""
        velocities = [self._velocity(weight) for weight in weights]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
        if group["nesterov"]:
            torch._foreach_add_(weights, velocities, alpha=group["momentum"])
            torch._foreach_add_(weights, gradients, alpha=-group["lr"])
        else:
            torch._foreach_add_(weights, velocities)

    def _velocity(self, weight: torch.Tensor) -> torch.Tensor:
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity: torch.Tensor = state["velocity"]
        return velocity


class FusedPaperSGD(PaperSGD):
    """PaperSGD by torch's fused SGD kernel, which reads or writes a tensor of the weights' size 5 times
    a step.

    torch's rule is u <- momentum * u + gradient + weight_decay * w; w <- w - lr * u. With u = -v / lr
    that is the paper's rule as long as the lr stays. When it changes, u is multiplied by (old lr / new
    lr), which costs two more passes over it (a Linear schedule does so at every step). The two differ
    by roundings only: with W the largest |w|, V that of |momentum * v| + |lr * gradient| and e = 2^-24,
    n steps differ by at most

        n * (2 W + 8 V / (1 - momentum)) * e

    for given gradients: each step rounds w once in either rule, and v and u at most 8 times together,
    counting a change of the lr as two; of an error in v a fraction `momentum` is left after each step.
    """

    def _update(self, group: dict[str, Any], weights: list[torch.Tensor], gradients: list[Any]) -> None:
        velocities = [self._velocity(weight) for weight in weights]
        if (before := group.get("velocity_lr", group["lr"])) != group["lr"]:
            torch._foreach_mul_(velocities, before / group["lr"])
        group["velocity_lr"] = group["lr"]
        fused_sgd(
            weights, gradients, list[torch.Tensor | None](velocities), fused=True,
            weight_decay=group["weight_decay"], momentum=group["momentum"], lr=group["lr"], dampening=0.0,
            nesterov=group["nesterov"], maximize=False,
        )  # fmt: skip


def velocity_lrs(optimizer: torch.optim.Optimizer) -> list[float | None]:
    """The lr in the velocities of each group, where the rule is FusedPaperSGD; a checkpoint needs it."""
    return [group.get("velocity_lr") for group in optimizer.param_groups]


def set_velocity_lrs(optimizer: torch.optim.Optimizer, lrs: Sequence[float | None]) -> None:
    """Restore them. The second of two towers has no classifier, so it may lack the last groups."""
    for group, lr in zip(optimizer.param_groups, lrs, strict=False):
        if lr is not None:
            group["velocity_lr"] = lr


def make_optimizer(named: Named, recipe: Recipe, layer_of: LayerOf) -> torch.optim.Optimizer:
    """The recipe's optimizer over named parameters. layer_of: AlexNet.layer_of."""
    groups = parameter_groups(named, recipe, layer_of)
    if recipe.lr_inside_velocity:
        rule = FusedPaperSGD if recipe.fused_update else PaperSGD
        return rule(groups, recipe.lr, recipe.momentum, nesterov=recipe.nesterov)
    # without momentum it makes no difference, and torch does not allow it
    nesterov = recipe.nesterov and recipe.momentum > 0.0
    return torch.optim.SGD(
        groups, recipe.lr, recipe.momentum, nesterov=nesterov, fused=recipe.fused_update or None
    )


def parameter_groups(named: Named, recipe: Recipe, layer_of: LayerOf) -> list[dict[str, Any]]:
    """torch's param_groups. Parameters that always have the same lr and weight decay share a group.

    rule: index of the group's ParamGroup in `rules(recipe)`. layer, parameter: which late changes apply
    to the group; "" if no late change names a layer, or "weight" or "bias".
    """
    groups: dict[tuple[int, str, str], dict[str, Any]] = {}
    late_layers = {change.layer for change in recipe.late_changes}
    by_role = any(change.parameter for change in recipe.late_changes)
    for name, weight in named:
        layer, kind, role = layer_of(name)
        rule = next(i for i, each in enumerate(rules(recipe)) if _matches(each, layer, kind, role))
        key = rule, layer if layer in late_layers else "", role if by_role else ""
        weight_decay = recipe.weight_decay * rules(recipe)[rule].weight_decay_factor
        group = {
            "params": [],
            "weight_decay": weight_decay,
            "rule": rule,
            "layer": key[1],
            "parameter": key[2],
        }
        groups.setdefault(key, group)["params"].append(weight)
    return list(groups.values())


def rules(recipe: Recipe) -> tuple[ParamGroup, ...]:
    """The recipe's parameter groups and a last one that matches every parameter."""
    return (*recipe.groups, ParamGroup())


def _matches(group: ParamGroup, layer: str, kind: str, role: str) -> bool:
    return group.layer in (None, layer, kind) and group.parameter in (None, role)


class LrScheduler:
    """Sets the lr of each of the optimizer's groups before each step: schedules, factors and late
    changes.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.optimizer, self.recipe = optimizer, recipe
        self.main = LrFactor(recipe.schedule, recipe.epochs)
        self.own = [rule.schedule and LrFactor(rule.schedule, recipe.epochs) for rule in rules(recipe)]

    def step(self, step: int, epoch: float) -> float:
        """Call before the optimizer's step number `step`, counted from 0, at `epoch`, from 0.0.

        Returns the recipe's lr before the groups' factors.
        """
        for group in self.optimizer.param_groups:
            factor = (self.own[group["rule"]] or self.main).at(step, epoch)
            lr = self.recipe.lr * factor * rules(self.recipe)[group["rule"]].lr_factor
            group["lr"] = self._late_lr(group, epoch, lr)
        return self.recipe.lr * self.main.at(step, epoch)

    def observe(self, error: float) -> None:
        """Pass on the top-1 error of a validation; a plateau schedule drops the lr if the error no
        longer improves.
        """
        for factor in self._factors():
            factor.observe(error)

    def state_dict(self) -> dict[str, Any]:
        """The part of the state that depends on validations, as plain numbers.

        The rest follows from step and epoch.
        """
        return {"factors": [factor.state_dict() for factor in self._factors()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError for the state of a recipe with another number of schedules."""
        for factor, saved in zip(self._factors(), state["factors"], strict=True):
            factor.load_state_dict(saved)

    def _factors(self) -> list[LrFactor]:
        return [self.main, *(factor for factor in self.own if factor)]

    def _late_lr(self, group: dict[str, Any], epoch: float, lr: float) -> float:
        """The lr of the last late change that applies to this group at `epoch`, else `lr`."""
        for change in self.recipe.late_changes:
            holds = change.layer in (None, group["layer"]) and change.parameter in (
                None,
                group["parameter"],
            )
            if change.lr is not None and epoch >= change.at_epoch and holds:
                lr = change.lr
        return lr


class LrFactor:
    """One schedule as a factor of the recipe's lr.

    Only a plateau has state; it needs `observe` after each validation.
    """

    def __init__(self, schedule: Schedule, epochs: float) -> None:
        self.schedule, self.epochs = schedule, epochs
        self._drops = 0
        self._best = float("inf")
        self._without_improvement = 0

    def at(self, step: int, epoch: float) -> float:
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
        return float(plan.factor**self._drops)

    def observe(self, error: float) -> None:
        """Pass on the top-1 error of a validation."""
        if not isinstance(self.schedule, Plateau):
            return
        self._without_improvement = 0 if error < self._best else self._without_improvement + 1
        self._best = min(self._best, error)
        if self._without_improvement >= self.schedule.patience and self._drops < self.schedule.drops:
            self._drops, self._without_improvement = self._drops + 1, 0

    def state_dict(self) -> dict[str, float]:
        return {
            "drops": self._drops,
            "best": self._best,
            "without_improvement": self._without_improvement,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._drops, self._best = int(state["drops"]), float(state["best"])
        self._without_improvement = int(state["without_improvement"])


def colour_noise_on(late: tuple[LateChange, ...], epoch: float) -> bool:
    """Whether PCA colour noise is still drawn at `epoch` (the 2012 code switched it off at epoch 67
    of run 145).
    """
    states = [c.colour_noise for c in late if c.colour_noise is not None and epoch >= c.at_epoch]
    return states[-1] if states else True
