"""The update rule against loops written out from the paper (sec. 5), in float64 so that equality means equality."""

from __future__ import annotations

import pytest
import torch

from harness.optim import LrSchedule, Sgd, colour_noise_on
from variants.recipes.recipe import EverySteps, ExpSteps, FixedDrops, LateChange, ParamGroup, Plateau, Recipe

DROPS = FixedDrops(at_epochs=(2.0, 4.0))


def recipe(**changes: object) -> Recipe:
    return Recipe(**{"name": "r", "schedule": DROPS, "store_size": 36, "epochs": 6.0, "lr": 0.1, **changes})  # type: ignore[arg-type]


def one_weight(name: str) -> tuple[str, str, str]:
    return name.split(".")[0], "conv" if name.startswith("conv") else "dense", name.split(".")[1]


def trajectory(
    made: Recipe, gradients: list[float], name: str = "conv1.weight", steps_per_epoch: int = 2
) -> list[float]:
    weight = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    sgd = Sgd([(name, weight)], made, one_weight)
    seen = []
    for step, gradient in enumerate(gradients):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        sgd.step(step, step / steps_per_epoch)
        seen.append(weight.item())
    return seen


GRADIENTS = [0.3, -0.2, 0.5, 0.1, -0.4, 0.25, 0.05, -0.6, 0.7, 0.2]


def test_papers_rule_keeps_the_rate_inside_the_velocity_across_two_drops() -> None:
    w, v, expected = 0.5, 0.0, []
    for step, gradient in enumerate(GRADIENTS):
        rate = 0.1 * 0.1 ** ((step >= 4) + (step >= 8))
        v = 0.9 * v - 5e-4 * rate * w - rate * gradient
        w = w + v
        expected.append(w)
    # the foreach kernels sum in another order than the loop: 1e-15 is a few units in the last place
    assert trajectory(recipe(), GRADIENTS) == pytest.approx(expected, abs=1e-15)


def test_torchs_rule_equals_torch_optim_sgd_and_parts_from_the_papers_at_the_first_drop() -> None:
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
def test_nesterov_equals_torchs_while_the_rate_stands(inside: bool) -> None:
    weight = torch.nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    expected = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        sgd.step()
        expected.append(weight.item())
    made = recipe(nesterov=True, lr_inside_velocity=inside, schedule=FixedDrops(at_epochs=()))
    assert trajectory(made, GRADIENTS) == pytest.approx(expected, abs=1e-15)


def test_biases_take_their_own_rate_and_no_decay() -> None:
    groups = (ParamGroup(parameter="bias", lr_factor=2.0, weight_decay_factor=0.0),)
    moved = trajectory(recipe(groups=groups), [0.3], name="fc6.bias")
    assert moved == pytest.approx([0.5 - 0.2 * 0.3], abs=1e-15)


def test_a_group_may_name_a_layer_and_the_first_match_holds() -> None:
    groups = (ParamGroup(layer="fc6", lr_factor=0.0), ParamGroup(layer="dense", lr_factor=3.0))
    assert trajectory(recipe(groups=groups), [0.3], name="fc6.weight") == [0.5]
    assert trajectory(recipe(groups=groups, weight_decay=0.0), [0.3], name="fc7.weight") == pytest.approx([0.41])


def test_a_late_change_freezes_one_layer_and_spares_the_others() -> None:
    late = (LateChange(at_epoch=1.0, layer="conv1", lr=1e-5), LateChange(at_epoch=2.0, layer="conv1", lr=0.0))
    frozen = trajectory(recipe(late_changes=late), GRADIENTS)
    assert frozen[4:] == [frozen[3]] * len(frozen[4:])
    assert frozen[2] != frozen[3]
    assert trajectory(recipe(late_changes=late), GRADIENTS, "conv2.weight") == trajectory(
        recipe(), GRADIENTS, "conv2.weight"
    )


def test_a_late_change_of_the_weights_leaves_the_biases_alone() -> None:
    late = (LateChange(at_epoch=1.0, layer="conv1", parameter="weight", lr=0.0),)
    weights, biases = (trajectory(recipe(late_changes=late), GRADIENTS, f"conv1.{role}") for role in ("weight", "bias"))
    assert weights[3:] == [weights[2]] * len(weights[3:])
    assert biases == trajectory(recipe(), GRADIENTS, "conv1.bias")


def test_clipping_scales_the_whole_gradient_to_the_norm() -> None:
    made = recipe(clip_norm=0.5, weight_decay=0.0, momentum=0.0)
    # torch divides by norm + 1e-6
    assert trajectory(made, [5.0]) == pytest.approx([0.5 - 0.1 * 0.5], abs=1e-6)
    assert trajectory(made, [0.2]) == pytest.approx([0.5 - 0.1 * 0.2], abs=1e-6)


def test_parameters_without_a_gradient_stay() -> None:
    weight, other = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    weight.grad = torch.ones(1)
    Sgd([("fc6.weight", weight), ("box.weight", other)], recipe(), one_weight).step(0, 0.0)
    assert other.item() == 1.0
    assert weight.item() != 1.0


def test_schedules_in_steps_and_geometric_stages() -> None:
    assert [LrSchedule(EverySteps(steps=3), 9).factor(s, 0) for s in (0, 2, 3, 6)] == pytest.approx([1, 1, 0.1, 0.01])
    stages = LrSchedule(ExpSteps(steps=4, divisor=1000.0), 8)
    assert [stages.factor(0, e) for e in (0, 2, 4, 6, 7.9)] == pytest.approx([1, 0.1, 0.01, 1e-3, 1e-3])


def test_plateau_drops_after_patience_and_stops_after_its_drops() -> None:
    schedule = LrSchedule(Plateau(patience=2, drops=1), 90)
    for error in (0.5, 0.4, 0.41, 0.4):
        schedule.observe(error)
    assert schedule.factor(0, 0) == pytest.approx(0.1)
    for error in (0.5, 0.5, 0.5, 0.5):
        schedule.observe(error)
    assert schedule.factor(0, 0) == pytest.approx(0.1)


def test_colour_noise_ends_when_a_late_change_says_so() -> None:
    late = (LateChange(at_epoch=67, colour_noise=False),)
    assert colour_noise_on(late, 66.9)
    assert not colour_noise_on(late, 67.0)
