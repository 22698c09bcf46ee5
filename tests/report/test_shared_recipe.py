"""Runs are compared by the contents of their recipes: a variant's own changes are no difference, anything else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from study_records import Study

from harness.records.store import Store
from harness.report.build import build
from harness.report.evidence import Evidence, gather
from harness.report.markdown import report_markdown
from variants.catalog import CATALOG
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import Recipe

MINI = RECIPES["mini"].recipe


def evidence(study: Study) -> Evidence:
    return gather("test", Store(study.root).records(), (), list(CATALOG))


def own(variant: str, recipe: Recipe = MINI) -> Recipe:
    """The recipe with the variant's own changes."""
    return apply(recipe, CATALOG[variant].recipe_changes)


@pytest.mark.parametrize("variant", ["no_pca_colour", "no_weight_decay"])
def test_a_variant_that_changes_its_recipe_is_compared_with_the_base(study: Study, variant: str):
    study.run(study.spec("grouped_2gpu", 0, recipe=MINI), 0.16)
    study.run(study.spec(variant, 0, recipe=own(variant)), 0.2)
    (setting,) = evidence(study).settings
    assert list(setting.runs) == ["grouped_2gpu", variant]
    assert setting.key.recipe == "mini"


@pytest.mark.parametrize("variant", ["no_lrn", "no_weight_decay"])
@pytest.mark.parametrize(("field", "new"), [("lr", 0.02), ("order", "pages")])
def test_runs_with_another_learning_rate_or_order_are_another_setting_and_its_label_names_it(
    study: Study, variant: str, field: str, new: object
):
    study.run(study.spec("grouped_2gpu", 0, recipe=MINI), 0.16)
    changed = replace(own(variant), **{field: new})
    study.run(study.spec(variant, 0, recipe=changed, overrides=(f"{field}={new}",)), 0.2)
    plain, other = evidence(study).settings
    assert [list(plain.runs), list(other.runs)] == [["grouped_2gpu"], [variant]]
    assert other.key.label.startswith(f"fashion_mnist, mini geometry, recipe mini, {field} {new} for ")
    assert f"recipe mini, {field} {new}" in report_markdown(build("test", Store(study.root).records()))


def test_a_variant_with_an_override_of_its_own_change_is_never_pooled_with_the_base(study: Study):
    """no_pca_colour with the base's colour_std again is trained by the base's recipe, but is no no_pca_colour."""
    study.run(study.spec("grouped_2gpu", 0, recipe=MINI), 0.16)
    study.run(study.spec("no_weight_decay", 0, recipe=MINI, overrides=("weight_decay=0.0005",)), 0.2)
    settings = evidence(study).settings
    assert [len(setting.runs) for setting in settings] == [1, 1]
    assert any("without the variant's own weight_decay" in setting.key.label for setting in settings)


def test_names_of_equal_recipes_do_not_count(study: Study):
    study.run(study.spec("grouped_2gpu", 0, recipe=MINI), 0.16)
    study.run(study.spec("no_lrn", 0, recipe=replace(MINI, name="mine")), 0.2)
    assert len(evidence(study).settings) == 1


def test_a_variants_changes_of_the_length_keep_it_apart(study: Study):
    study.run(study.spec("grouped_2gpu", 0, recipe=MINI), 0.16)
    study.run(study.spec("grouped_2gpu", 0, recipe=replace(MINI, epochs=2.0)), 0.2)
    assert sorted(setting.key.epochs for setting in evidence(study).settings) == sorted(
        [MINI.epochs, 2.0]
    )


def test_a_recipe_of_a_name_that_no_longer_exists_is_compared_as_it_was_trained(
    study: Study, tmp_path: Path
):
    gone = replace(MINI, name="gone")
    study.run(study.spec("grouped_2gpu", 0, recipe=gone), 0.16)
    study.run(study.spec("no_weight_decay", 0, recipe=own("no_weight_decay", gone)), 0.2)
    assert len(evidence(study).settings) == 2
