"""`--set FIELD=VALUE`: what it changes, what it refuses, and that it is part of a run's identity."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.manifest import StoreSettings
from harness.errors import UsageError
from harness.overrides import label, override
from harness.resolve import RunRequest, run_spec
from variants.recipes import RECIPES
from variants.recipes.recipe import Linear

MINI = RECIPES["mini"].recipe


def test_fields_are_read_by_their_type() -> None:
    changed = override(
        MINI, ("lr=0.02", "epochs=5", "batch_size=256", "precision=bf16", "nesterov=true")
    )
    assert changed == replace(
        MINI, lr=0.02, epochs=5.0, batch_size=256, precision="bf16", nesterov=True
    )


def test_fields_of_fields_and_whole_schedules_are_set_by_json() -> None:
    settings = ("augmentation.colour_std=0", "schedule.at_epochs=[1, 2.5]")
    changed = override(MINI, settings)
    assert changed.augmentation == replace(MINI.augmentation, colour_std=0.0)
    assert changed.schedule == replace(MINI.schedule, at_epochs=(1.0, 2.5))  # type: ignore[type-var]
    assert override(MINI, ('schedule={"kind": "linear"}',)).schedule == Linear()


def test_the_last_of_two_settings_of_a_field_holds() -> None:
    assert override(MINI, ("lr=0.02", "lr=0.03")).lr == 0.03


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("lr", "--set lr: use FIELD=VALUE, such as --set lr=0.02"),
        ("rl=1", "--set rl=1: the recipe has no field 'rl' there; did you mean 'lr'?"),
        ("augmentation.color_std=0", "did you mean 'colour_std'?"),
        (
            "lr.factor=1",
            "--set lr.factor=1: the recipe has no field 'factor' there; there are no fields below it",
        ),
        ("name=x", "the recipe has no field 'name' there; "),
        ("precision=fp8", "--set precision=fp8: Input should be "),
        ("batch_size=1.5", "--set batch_size=1.5: Input should be a valid integer"),
        ("batch_size=0", "batch_size=0, but it must be above 0"),
        ("lr=fast", "--set lr=fast: Input should be a valid number"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(setting: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        override(MINI, (setting,))
    assert sentence in str(refused.value)


def test_a_setting_is_part_of_the_digest_by_its_content_and_not_by_its_text() -> None:
    synthetic = prepare_synthetic(StoreSettings(store_size=36, limit=(4, 4)))
    request = RunRequest("grouped_2gpu", "mini", "synthetic", 0)

    def digest(*settings: str) -> str:
        return run_spec(replace(request, overrides=settings), synthetic, "cpu").digest

    assert digest() == digest("lr=0.01") == digest("lr=1e-2")
    assert digest() != digest("lr=0.02") == digest("lr=0.020")


def test_the_users_setting_comes_after_the_variants_own_changes() -> None:
    synthetic = prepare_synthetic(StoreSettings(store_size=36, limit=(4, 4)))
    request = RunRequest("no_weight_decay", "mini", "synthetic", 0)
    assert run_spec(request, synthetic, "cpu").recipe.weight_decay == 0.0
    changed = run_spec(replace(request, overrides=("weight_decay=0.1",)), synthetic, "cpu")
    assert changed.recipe.weight_decay == 0.1
    assert changed.overrides == ("weight_decay=0.1",)


def test_titles_name_what_was_set() -> None:
    assert label(("lr=0.02", "epochs=5")) == "lr 0.02, epochs 5"
