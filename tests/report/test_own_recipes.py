"""A difference of network and recipe is decided by runs of each side with its own recipe, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from study_records import Study

from harness.records.store import Store
from harness.report.claims import Claim, claims_of, judge_in, judge_over
from harness.report.evidence import gather
from harness.report.own_recipes import pairs
from harness.report.setting import Setting
from harness.spec import RunSpec
from variants.catalog import CATALOG, native_recipe
from variants.recipes.recipe import Recipe

ONE_RECIPE = "published with different recipes (torchvision, code_2012); these runs used one recipe"


def claim(name: str) -> Claim:
    return claims_of(CATALOG[name])[0]


def own(study: Study, variant: str, seed: int, recipe: Recipe | None = None) -> RunSpec:
    """A run of the row by the recipe that it was published with, or by another one."""
    return replace(study.spec(variant, seed), recipe=recipe or native_recipe(CATALOG[variant]))


def settings(study: Study) -> tuple[Setting, ...]:
    store = Store(study.root)
    return gather("test", store.records(), store.verified_reference().records, list(CATALOG)).settings


def test_runs_of_one_recipe_meet_an_obstacle_where_each_side_was_published_with_its_own(study: Study):
    for seed in range(2):
        study.run(study.spec("one_weird_trick", seed), 0.2)
        study.run(study.spec("code_2012", seed), 0.16)
    (setting,) = settings(study)
    judged = judge_in(claim("one_weird_trick"), setting, 90.0)
    assert judged.verdict == "inconclusive"
    assert ONE_RECIPE in judged.obstacles


def test_runs_of_each_side_by_its_own_recipe_are_paired_over_two_settings(study: Study):
    for seed in range(2):
        study.run(own(study, "one_weird_trick", seed), 0.2)
        study.run(own(study, "code_2012", seed), 0.16)
    found = settings(study)
    assert len(found) == 2
    judged = judge_over(claim("one_weird_trick"), found, 90.0)
    assert judged.comparison is not None
    assert judged.comparison.difference.mean == pytest.approx(0.04, abs=0.01)
    assert not any("recipe" in reason for reason in judged.obstacles)
    assert "run at the mini geometry" in judged.obstacles  # the other rules still hold


def test_a_recipe_of_the_same_name_with_other_contents_does_not_count(study: Study):
    changed = replace(native_recipe(CATALOG["code_2012"]), lr=0.02)
    for seed in range(2):
        study.run(own(study, "one_weird_trick", seed), 0.2)
        study.run(own(study, "code_2012", seed, changed), 0.16)
    found = settings(study)
    sides = claim("one_weird_trick").sides
    assert sides is not None
    assert list(pairs(sides, found)) == []
    assert judge_over(claim("one_weird_trick"), found, 90.0).verdict == "not run"


def test_the_same_contents_under_another_name_and_other_evaluations_count(study: Study):
    native = native_recipe(CATALOG["code_2012"])
    renamed = replace(native, name="mine", evaluation=replace(native.evaluation, every_epochs=5.0))
    for seed in range(2):
        study.run(own(study, "one_weird_trick", seed), 0.2)
        study.run(own(study, "code_2012", seed, renamed), 0.16)
    sides = claim("one_weird_trick").sides
    assert sides is not None
    assert len(list(pairs(sides, settings(study)))) == 1


def test_sides_run_on_other_images_are_not_paired(study: Study):
    ours, theirs = own(study, "one_weird_trick", 0), own(study, "code_2012", 0)
    study.run(ours, 0.2)
    study.run(replace(theirs, data=replace(theirs.data, listing="cd" * 32)), 0.16)
    assert judge_over(claim("one_weird_trick"), settings(study), 90.0).verdict == "not run"


def test_a_recipe_that_the_harness_lacks_is_named(study: Study):
    for seed in range(2):
        study.run(study.spec("cnn_f", seed), 0.2)
        study.run(study.spec("caffe_alexnet", seed), 0.16)
    (setting,) = settings(study)
    obstacles = judge_in(claim("cnn_f"), setting, 90.0).obstacles
    assert "published with a recipe that the harness does not have (Chatfield et al.)" in obstacles


@pytest.mark.parametrize("name", ["caffenet", "zfnet", "no_fc7", "no_lrn"])
def test_one_recipe_for_both_is_no_obstacle_where_one_was_published(study: Study, name: str):
    versus = claim(name).versus
    assert versus is not None
    for seed in range(2):
        study.run(study.spec(name, seed), 0.2)
        study.run(study.spec(versus, seed), 0.16)
    (setting,) = settings(study)
    assert not any(
        "recipe on each side" in reason for reason in judge_in(claim(name), setting, 90.0).obstacles
    )
