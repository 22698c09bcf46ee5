"""The update rule against loops written out from the paper (sec. 5), and torch's rule against torch.optim.SGD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.optim import (
    FusedPaperSGD,
    LrFactor,
    LrScheduler,
    PaperSGD,
    colour_noise_on,
    make_optimizer,
    parameter_groups,
)
from variants.recipes.recipe import (
    EverySteps,
    ExpSteps,
    FixedDrops,
    LateChange,
    Linear,
    ParamGroup,
    Plateau,
    Recipe,
)

DROPS = FixedDrops(at_epochs=(2.0, 4.0))


def recipe(**changes: object) -> Recipe:
    return Recipe(
        **{"name": "r", "schedule": DROPS, "store_size": 36, "epochs": 6.0, "lr": 0.1, **changes}
    )  # type: ignore[arg-type]


def one_weight(name: str) -> tuple[str, str, str]:
    return name.split(".")[0], "conv" if name.startswith("conv") else "dense", name.split(".")[1]


def trajectory(
    made: Recipe, gradients: list[float], name: str = "conv1.weight", steps_per_epoch: int = 2
) -> list[float]:
    weight = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = make_optimizer([(name, weight)], made, one_weight)
    scheduler = LrScheduler(optimizer, made)
    seen = []
    for step, gradient in enumerate(gradients):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        scheduler.step(step, step / steps_per_epoch)
        optimizer.step()
        seen.append(weight.item())
    return seen


GRADIENTS = [0.3, -0.2, 0.5, 0.1, -0.4, 0.25, 0.05, -0.6, 0.7, 0.2]


def test_papers_rule_keeps_the_lr_inside_the_velocity_across_two_drops() -> None:
    w, v, expected = 0.5, 0.0, []
    for step, gradient in enumerate(GRADIENTS):
        rate = 0.1 * 0.1 ** ((step >= 4) + (step >= 8))
        v = 0.9 * v - 5e-4 * rate * w - rate * gradient
        w = w + v
        expected.append(w)
    # the foreach kernels sum in another order than the loop: 1e-15 is a few units in the last place
    assert trajectory(recipe(), GRADIENTS) == pytest.approx(expected, abs=1e-15)


def test_torchs_rule_equals_torch_optim_sgd_and_differs_from_the_papers_after_the_first_drop() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4)
    expected = []
    for step, gradient in enumerate(GRADIENTS):
        sgd.param_groups[0]["lr"] = 0.1 * 0.1 ** ((step >= 4) + (step >= 8))
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        sgd.step()
        expected.append(weight.item())
    ours = trajectory(recipe(lr_inside_velocity=False), GRADIENTS)
    assert ours == pytest.approx(expected, abs=1e-15)
    papers = trajectory(recipe(), GRADIENTS)
    assert papers[:4] == pytest.approx(ours[:4], abs=1e-15)
    assert abs(papers[4] - ours[4]) > 1e-3


@pytest.mark.parametrize("inside", [True, False])
def test_nesterov_equals_torchs_while_the_lr_is_constant(inside: bool) -> None:
    weight = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    expected = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        sgd.step()
        expected.append(weight.item())
    made = recipe(nesterov=True, lr_inside_velocity=inside, schedule=FixedDrops(at_epochs=()))
    assert trajectory(made, GRADIENTS) == pytest.approx(expected, abs=1e-15)


def test_biases_take_their_own_lr_and_no_decay() -> None:
    groups = (ParamGroup(parameter="bias", lr_factor=2.0, weight_decay_factor=0.0),)
    moved = trajectory(recipe(groups=groups), [0.3], name="fc6.bias")
    assert moved == pytest.approx([0.5 - 0.2 * 0.3], abs=1e-15)


def test_a_group_may_name_a_layer_and_the_first_match_holds() -> None:
    groups = (ParamGroup(layer="fc6", lr_factor=0.0), ParamGroup(layer="dense", lr_factor=3.0))
    assert trajectory(recipe(groups=groups), [0.3], name="fc6.weight") == [0.5]
    assert trajectory(
        recipe(groups=groups, weight_decay=0.0), [0.3], name="fc7.weight"
    ) == pytest.approx([0.41])


@pytest.mark.parametrize("inside", [True, False])
def test_a_late_change_freezes_one_layer_and_leaves_the_others_alone(inside: bool) -> None:
    late = (
        LateChange(at_epoch=1.0, layer="conv1", lr=1e-5),
        LateChange(at_epoch=2.0, layer="conv1", lr=0.0),
    )
    frozen = trajectory(recipe(late_changes=late, lr_inside_velocity=inside), GRADIENTS)
    assert frozen[4:] == [frozen[3]] * len(frozen[4:])
    assert frozen[2] != frozen[3]
    assert trajectory(recipe(late_changes=late), GRADIENTS, "conv2.weight") == trajectory(
        recipe(), GRADIENTS, "conv2.weight"
    )


def test_a_late_change_of_the_weights_leaves_the_biases_alone() -> None:
    late = (LateChange(at_epoch=1.0, layer="conv1", parameter="weight", lr=0.0),)
    weights, biases = (
        trajectory(recipe(late_changes=late), GRADIENTS, f"conv1.{role}") for role in ("weight", "bias")
    )
    assert weights[3:] == [weights[2]] * len(weights[3:])
    assert biases == trajectory(recipe(), GRADIENTS, "conv1.bias")


@pytest.mark.parametrize("inside", [True, False])
def test_parameters_without_a_gradient_stay(inside: bool) -> None:
    weight, other = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    weight.grad = torch.ones(1)
    named = [("fc6.weight", weight), ("box.weight", other)]
    make_optimizer(named, recipe(lr_inside_velocity=inside), one_weight).step()
    assert other.item() == 1.0
    assert weight.item() != 1.0


def test_a_step_leaves_the_gradients_as_they_are() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.full((3,), 0.25)
    PaperSGD([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight.grad, torch.full((3,), 0.25))


def test_a_step_with_a_closure_returns_its_loss() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = PaperSGD([weight], lr=0.1, momentum=0.0)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (3.0 * weight).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 3.0
    assert weight.item() == pytest.approx(0.7)


SHAPES = {"conv1.weight": (6, 3, 5, 5), "conv1.bias": (6,), "fc6.weight": (40, 54), "fc6.bias": (40,)}
GROUPS = (
    ParamGroup(
        layer="fc6",
        parameter="bias",
        lr_factor=2.0,
        weight_decay_factor=0.0,
        schedule=FixedDrops(at_epochs=()),
    ),
    ParamGroup(parameter="bias", lr_factor=2.0, weight_decay_factor=0.0),
)
LATE = (LateChange(at_epoch=3.0, layer="conv1", parameter="weight", lr=0.003),)


def weights() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=generator))
        for name, shape in SHAPES.items()
    }


def set_gradients(named: dict[str, torch.nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for weight in named.values():
        weight.grad = torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize(("inside", "nesterov"), [(True, False), (True, True), (False, False)])
def test_float32_weights_equal_the_written_out_rule_in_every_bit(inside: bool, nesterov: bool) -> None:
    """The order of operations is part of the rule: records of earlier versions repeat to the bit only with it."""
    made = recipe(groups=GROUPS, late_changes=LATE, lr_inside_velocity=inside, nesterov=nesterov)
    ours, plain = weights(), {name: weight.detach() for name, weight in weights().items()}
    velocities = {name: torch.zeros_like(weight) for name, weight in plain.items()}
    optimizer = make_optimizer(ours.items(), made, one_weight)
    scheduler = LrScheduler(optimizer, made)
    for step in range(12):
        set_gradients(ours, step)
        scheduler.step(step, step / 2)
        optimizer.step()
        dropped = 0.1 * float(0.1 ** ((step >= 4) + (step >= 8)))
        lrs = {"conv1.weight": 0.003 if step >= 6 else dropped, "conv1.bias": dropped * 2.0}
        lrs |= {"fc6.weight": dropped, "fc6.bias": 0.2}
        for name, w in plain.items():
            gradient, lr, v = ours[name].grad, lrs[name], velocities[name]
            assert gradient is not None
            if name.endswith("weight"):
                gradient = gradient.add(w, alpha=5e-4)
            v.mul_(0.9).add_(gradient, alpha=-lr if inside else 1.0)
            w.add_(v, alpha=(1.0 if inside else -lr) * (0.9 if nesterov else 1.0))
            if nesterov:
                w.add_(gradient, alpha=-lr)
            assert torch.equal(ours[name], w), f"{name} at step {step}"


@pytest.mark.parametrize("fused", [False, True], ids=["foreach", "fused"])
@pytest.mark.parametrize("inside", [True, False])
def test_training_goes_on_from_a_saved_state_to_the_same_bits(
    inside: bool, fused: bool, tmp_path: Path
) -> None:
    """Saved to a file after 5 of 12 steps, in the middle of a plateau's patience, and loaded without pickled code."""
    made = recipe(
        groups=GROUPS, late_changes=LATE, lr_inside_velocity=inside, fused_update=fused,
        schedule=Plateau(patience=3, drops=2),
    )  # fmt: skip

    def run(
        named: dict[str, torch.nn.Parameter], at: range, saved: Path | None = None
    ) -> dict[str, object]:
        optimizer = make_optimizer(named.items(), made, one_weight)
        scheduler = LrScheduler(optimizer, made)
        if saved:
            state = torch.load(saved, weights_only=True)
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
        for step in at:
            set_gradients(named, step)
            scheduler.step(step, step / 2)
            optimizer.step()
            scheduler.observe(0.5)
        return {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}

    whole, parts = weights(), weights()
    end = run(whole, range(12))
    torch.save(run(parts, range(5)), tmp_path / "state.pt")
    again = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in parts.items()}
    end_again = run(again, range(5, 12), tmp_path / "state.pt")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert end_again["scheduler"] == end["scheduler"]
    assert any(not torch.equal(whole[name], parts[name]) for name in whole)


# ------------------------------------------------------------------------------ torch's fused kernel (FusedPaperSGD)

EPSILON = 2.0**-24


def fused_against_plain(made: Recipe, steps: int = 60) -> tuple[float, float]:
    """(largest difference of weights after `steps` given gradients, the bound in FusedPaperSGD's docstring)."""
    plain, fused = weights(), weights()
    rules = [
        make_optimizer(named.items(), replace(made, fused_update=fast), one_weight)
        for named, fast in ((plain, False), (fused, True))
    ]
    schedulers = [LrScheduler(rule, made) for rule in rules]
    largest, fastest = 0.0, 0.0
    for step in range(steps):
        for named in (plain, fused):
            set_gradients(named, step)
        before = [state["velocity"].clone() for state in rules[0].state.values()]
        for rule, scheduler in zip(rules, schedulers, strict=True):
            scheduler.step(step, step / 10)
            rule.step()
        largest = max(largest, *(float(weight.detach().abs().max()) for weight in plain.values()))
        old = max((float(velocity.abs().max()) for velocity in before), default=0.0)
        gradient = max(
            float(weight.grad.abs().max()) for weight in plain.values() if weight.grad is not None
        )
        lr = max(group["lr"] for group in rules[0].param_groups)
        fastest = max(fastest, made.momentum * old + lr * (gradient + made.weight_decay * largest))
    differ = max(float((plain[name].detach() - fused[name].detach()).abs().max()) for name in plain)
    return differ, steps * (2 * largest + 8 * fastest / (1 - made.momentum)) * EPSILON


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nesterov": True},
        {"schedule": Linear()},
        {"groups": GROUPS, "late_changes": LATE},
        {"momentum": 0.0},
    ],
    ids=["drops", "nesterov", "linear", "groups", "no momentum"],
)
def test_the_fused_kernel_gives_the_papers_weights_within_the_stated_roundings(
    changes: dict[str, Any],
) -> None:
    """60 steps, drops of the lr after 20 and 40: without rescaling the velocity, thousands of times the bound."""
    differ, bound = fused_against_plain(recipe(**changes))
    assert 0.0 < differ < bound
    assert bound < 1e-3


def test_the_fused_kernel_freezes_at_a_lr_of_0_and_goes_on_with_the_old_velocity() -> None:
    """Steps 4 to 7 have the lr 0; neither rule changes anything there."""
    late = (LateChange(at_epoch=2.0, lr=0.0), LateChange(at_epoch=4.0, lr=0.01))
    made = recipe(late_changes=late)
    plain, fused = trajectory(made, GRADIENTS), trajectory(replace(made, fused_update=True), GRADIENTS)
    assert fused == pytest.approx(plain, abs=1e-15)
    assert len(set(fused[3:8])) == 1


def test_torchs_own_rule_can_be_fused_too() -> None:
    made = recipe(lr_inside_velocity=False)
    fused = trajectory(replace(made, fused_update=True), GRADIENTS)
    assert fused == pytest.approx(trajectory(made, GRADIENTS), abs=1e-15)


def test_a_fused_step_leaves_the_gradients_as_they_are_and_skips_weights_without_one() -> None:
    weight, other = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.full((3,), 0.25)
    FusedPaperSGD([weight, other], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight.grad, torch.full((3,), 0.25))
    assert weight.tolist() == pytest.approx([1 - 0.1 * 0.75] * 3)
    assert other.item() == 1.0


def test_a_state_of_another_recipe_is_refused() -> None:
    weight = torch.nn.Parameter(torch.ones(1))

    def scheduler(made: Recipe) -> LrScheduler:
        return LrScheduler(make_optimizer([("fc6.weight", weight)], made, one_weight), made)

    with pytest.raises(ValueError, match="longer"):
        scheduler(recipe()).load_state_dict(scheduler(recipe(groups=GROUPS)).state_dict())


def test_parameters_that_are_always_updated_alike_share_a_group() -> None:
    named = list(weights().items())
    assert [len(group["params"]) for group in parameter_groups(named, recipe(), one_weight)] == [4]
    groups = parameter_groups(named, recipe(groups=GROUPS, late_changes=LATE), one_weight)
    found = [
        (group["rule"], group["layer"], group["parameter"], group["weight_decay"]) for group in groups
    ]
    assert found == [
        (2, "conv1", "weight", 5e-4),
        (1, "conv1", "bias", 0.0),
        (2, "", "weight", 5e-4),
        (0, "", "bias", 0.0),
    ]


def test_schedules_in_steps_and_geometric_stages() -> None:
    assert [LrFactor(EverySteps(steps=3), 9).at(s, 0) for s in (0, 2, 3, 6)] == pytest.approx(
        [1, 1, 0.1, 0.01]
    )
    stages = LrFactor(ExpSteps(steps=4, divisor=1000.0), 8)
    assert [stages.at(0, e) for e in (0, 2, 4, 6, 7.9)] == pytest.approx([1, 0.1, 0.01, 1e-3, 1e-3])


def test_plateau_drops_after_patience_and_stops_after_its_drops() -> None:
    schedule = LrFactor(Plateau(patience=2, drops=1), 90)
    for error in (0.5, 0.4, 0.41, 0.4):
        schedule.observe(error)
    assert schedule.at(0, 0) == pytest.approx(0.1)
    for error in (0.5, 0.5, 0.5, 0.5):
        schedule.observe(error)
    assert schedule.at(0, 0) == pytest.approx(0.1)


def test_colour_noise_ends_when_a_late_change_says_so() -> None:
    late = (LateChange(at_epoch=67, colour_noise=False),)
    assert colour_noise_on(late, 66.9)
    assert not colour_noise_on(late, 67.0)
