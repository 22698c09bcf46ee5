"""From names to a RunSpec: suggestions for wrong names, and refusals of what doesn't go together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.data.base import Prepared
from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.manifest import StoreSettings
from harness.errors import UsageError
from harness.resolve import RunRequest, check_request, run_spec, study_requests
from variants.catalog import CATALOG
from variants.recipes import RECIPES


def request(
    variant: str = "grouped_2gpu", recipe: str = "mini", data: str = "synthetic", seed: int = 0
) -> RunRequest:
    return RunRequest(variant, recipe, data, seed)


@pytest.fixture
def synthetic() -> Prepared:
    return prepare_synthetic(StoreSettings(store_size=36, limit=(4, 4)))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            request(variant="no_lnr"),
            "no variant 'no_lnr'. Did you mean 'no_lrn'? See: python -m harness list",
        ),
        (
            request(recipe="papr"),
            "no recipe 'papr'. Did you mean 'paper'? See: python -m harness list --recipes",
        ),
        (
            request(data="cifar"),
            "no data set 'cifar'. Did you mean 'cifar10'? See: python -m harness data list",
        ),
        (request(variant="zzz"), "no variant 'zzz'. See: python -m harness list"),
        (
            request(variant="cifar_11pct"),
            "cifar_11pct has no mini geometry, which recipe 'mini' trains; use --recipe cifar_2012",
        ),
    ],
)
def test_wrong_names_are_refused_in_a_sentence_that_says_what_to_do(
    wrong: RunRequest, sentence: str
) -> None:
    with pytest.raises(UsageError) as refused:
        check_request(wrong)
    assert str(refused.value) == sentence


def test_a_full_size_recipe_gives_the_full_size_net_and_mini_the_small_one(synthetic: Prepared) -> None:
    full, mini = (run_spec(request(recipe=recipe), synthetic, "cpu") for recipe in ("paper", "mini"))
    assert (full.geometry, full.net.input_size) == ("full", CATALOG["grouped_2gpu"].spec.input_size)
    assert (mini.geometry, mini.net.input_size) == ("mini", 32)


def test_the_net_has_as_many_scores_as_the_data_has_classes(synthetic: Prepared) -> None:
    manifest = replace(synthetic.manifest, spec=replace(synthetic.spec, classes=3))
    few = replace(synthetic, manifest=manifest)
    assert run_spec(request(), few, "cpu").net.classes == 3


def test_a_rows_own_changes_reach_the_recipe(synthetic: Prepared) -> None:
    plain, changed = (
        run_spec(request(row), synthetic, "cpu") for row in ("grouped_2gpu", "no_weight_decay")
    )
    assert plain.recipe == RECIPES["mini"].recipe
    assert changed.recipe == replace(plain.recipe, weight_decay=0.0)


def test_a_box_loss_without_boxes_is_refused_before_any_data_is_touched() -> None:
    with pytest.raises(
        UsageError, match=r"^article trains a box head .* synthetic has no boxes; use --data imagenet_"
    ):
        check_request(request("article", "article"))


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda")])
def test_which_gpu_it_is_is_no_part_of_the_run(synthetic: Prepared, device: str, kind: str) -> None:
    assert run_spec(request(), synthetic, device).device == kind


def test_specs_are_ordered_by_seed_so_that_pairs_fill_up_evenly(synthetic: Prepared) -> None:
    requests = study_requests(request(), ["grouped_2gpu", "no_lrn"], [0, 1])
    found = [run_spec(one, synthetic, "cpu") for one in requests]
    assert [(spec.variant, spec.seed) for spec in found] == [
        ("grouped_2gpu", 0), ("no_lrn", 0), ("grouped_2gpu", 1), ("no_lrn", 1),
    ]  # fmt: skip
    assert len({spec.digest for spec in found}) == 4


def test_a_new_recipe_trains_the_geometry_that_it_says(
    synthetic: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = RECIPES["mini"]
    row = replace(mini, recipe=replace(mini.recipe, name="mini_long", epochs=5.0))
    monkeypatch.setitem(RECIPES, "mini_long", row)
    assert run_spec(request(recipe="mini_long"), synthetic, "cpu").geometry == "mini"
