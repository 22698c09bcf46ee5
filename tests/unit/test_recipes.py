"""Recipes say what the sources say, and a change names a field that exists."""

from __future__ import annotations

import pytest

from variants.catalog import CATALOG
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import (
    EverySteps,
    ExpSteps,
    FixedDrops,
    LateChange,
    Linear,
    Plateau,
    RecipeRow,
)
from variants.values import SpecError


@pytest.mark.parametrize("row", RECIPES.values(), ids=lambda row: row.recipe.name)
def test_recipe_says_what_came_out_what_it_cost_and_where_that_is_written(row: RecipeRow) -> None:
    assert row.meaning
    assert row.expected_error
    assert row.expected_cost
    assert row.source


def test_every_recipe_the_catalogue_promises_is_there() -> None:
    assert {
        "paper",
        "code_2012",
        "caffe",
        "torchvision",
        "owt_2014",
        "article",
        "cifar_2012",
        "mini",
    } <= set(RECIPES)


def test_paper_is_section_5() -> None:
    paper = RECIPES["paper"].recipe
    assert (paper.batch_size, paper.lr, paper.momentum, paper.weight_decay) == (128, 0.01, 0.9, 5e-4)
    assert paper.epochs == 90.0
    assert isinstance(paper.schedule, Plateau)
    assert (paper.schedule.drops, paper.schedule.factor) == (3, 0.1)
    assert paper.groups == ()
    assert paper.lr_inside_velocity
    assert (
        paper.augmentation.colour_std,
        paper.augmentation.images_per_draw,
        paper.augmentation.divide_by,
    ) == (
        0.1,
        1,
        1.0,
    )


def test_code_2012_is_the_log_of_run_145() -> None:
    code = RECIPES["code_2012"].recipe
    assert code.schedule == FixedDrops(at_epochs=(25.0, 51.0, 79.0))
    assert code.epochs == 91.0
    assert code.late_changes == (
        LateChange(at_epoch=67.0, layer="conv1", parameter="weight", lr=1e-5, colour_noise=False),
        LateChange(at_epoch=72.0, layer="conv1", lr=0.0),
    )
    (biases,) = code.groups
    assert (biases.parameter, biases.lr_factor, biases.weight_decay_factor) == ("bias", 2.0, 0.0)
    assert biases.schedule == FixedDrops(at_epochs=())
    assert (
        code.augmentation.images_per_draw,
        code.augmentation.divide_by,
        code.augmentation.colour_scale,
    ) == (
        32,
        1.1,
        "std",
    )


def test_schedules_of_the_others() -> None:
    schedules = {name: row.recipe.schedule for name, row in RECIPES.items()}
    assert schedules["caffe"] == schedules["article"] == EverySteps(steps=100_000)
    assert schedules["torchvision"] == FixedDrops(at_epochs=(30.0, 60.0))
    assert schedules["owt_2014"] == ExpSteps(steps=4, divisor=250.0)
    assert schedules["code_2012_dexp"] == ExpSteps(steps=4, divisor=1000.0)
    assert schedules["cvgj"] == Linear()


def test_article_starts_at_one_over_the_root_of_the_batch() -> None:
    assert RECIPES["article"].recipe.lr == pytest.approx(0.0883883, abs=5e-8)  # the digits given


@pytest.mark.parametrize("name", CATALOG)
@pytest.mark.parametrize("recipe", ["native", "mini"])
def test_every_rows_changes_fit_its_native_recipe_and_mini(name: str, recipe: str) -> None:
    row = CATALOG[name]
    native = recipe == "native" or "mini" not in row.geometries
    base = RECIPES[row.recipe if native else "mini"].recipe
    # has the box weight that its rows bring to any other recipe
    already = native and row.recipe == "article"
    assert (apply(base, row.recipe_changes) == base) == (not row.recipe_changes or already)


def test_apply_changes_nested_fields_and_leaves_the_original() -> None:
    mini = RECIPES["mini"].recipe
    changed = apply(mini, (("augmentation.colour_std", 0.0), ("lr", 0.5)))
    assert (changed.augmentation.colour_std, changed.lr) == (0.0, 0.5)
    assert (mini.augmentation.colour_std, mini.lr) != (0.0, 0.5)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("augmentation.color_std", "did you mean 'colour_std'?"),
        ("weight_decy", "did you mean 'weight_decay'?"),
        ("lr.factor", "no fields below it"),
    ],
)
def test_apply_refuses_an_unknown_field_and_says_what_there_is(path: str, said: str) -> None:
    with pytest.raises(
        SpecError, match=rf"recipe change {path}: no field '.*'; .*{said.replace('?', '[?]')}"
    ):
        apply(RECIPES["mini"].recipe, ((path, 1.0),))


def test_owt_2014_divides_noisy_images_as_cuda_convnet2_does() -> None:
    assert RECIPES["owt_2014"].recipe.augmentation.divide_by == 1.1  # convdata.py:183


def test_run_167_and_its_like_are_95_epochs_long() -> None:
    assert RECIPES["code_2012_dexp"].recipe.epochs == 95.0  # layer-params-169.cfg:204


def test_pool2_keeps_the_schedule_of_run_147() -> None:
    row = CATALOG["code_2012_pool2"]
    made = apply(RECIPES[row.recipe].recipe, row.recipe_changes)
    assert made.epochs == 90.0
    assert made.schedule == FixedDrops(at_epochs=(23.0, 51.0, 79.0))
    # noise to the end, conv1 never slowed
    assert made.late_changes == (LateChange(at_epoch=79.0, layer="conv1", lr=0.0),)


def cifar_groups(name: str) -> dict[str | None, list[object]]:
    made = apply(RECIPES["cifar_2012"].recipe, CATALOG[name].recipe_changes)
    return {group.parameter: [group.schedule, made.schedule] for group in made.groups}


def test_the_last_drops_on_cifar_are_of_the_weights_rate_alone() -> None:
    for name in ("cifar_13pct", "cifar_11pct", "cifar_13pct_lrn", "cifar_13pct_lrn9"):
        assert cifar_groups(name)["bias"] == [
            FixedDrops(at_epochs=()),
            FixedDrops(at_epochs=(500.0, 510.0)),
        ]
    assert cifar_groups("cifar_18pct")["bias"][0] is None  # its file drops all rates


def test_torchvisions_recipe_takes_torchvisions_own_mean_and_std() -> None:
    pixels = RECIPES["torchvision"].recipe.pixels
    assert pixels.mean == pytest.approx((0.485 * 255, 0.456 * 255, 0.406 * 255))
    assert pixels.divide_by_std == pytest.approx((0.229 * 255, 0.224 * 255, 0.225 * 255))
