"""A row of the catalogue names measurements; their numbers are in the data files alone, with both sides' recipes."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

import variants.catalog
from harness.published.comparisons import Difference, compared_with, differences, errors
from harness.published.load import measurements
from harness.published.targets import targets
from harness.published.words import about_difference, short
from variants.catalog import CATALOG, Variant

NAMING = [row for row in CATALOG.values() if row.published]


def difference(name: str) -> Difference:
    (found,) = differences(CATALOG[name])
    return found


@pytest.mark.parametrize("row", NAMING, ids=lambda row: row.name)
def test_a_row_is_judged_by_measurements_of_itself_against_another_row(row: Variant) -> None:
    assert all(measurements()[name].variant == row.name for name in row.published)
    assert differences(row) or errors(row)
    for found in differences(row):
        assert found.versus in CATALOG
        assert found.versus != row.name
        assert found.top1_points is not None


def test_no_published_error_is_typed_in_the_catalogue() -> None:
    """Every number with a digit after the point that differs from 0 counts: 40.7, 1.4, 42.034, but not 2.0."""
    published = {
        abs(target.published) for target in targets() if target.measure in ("top1_error", "top5_error")
    }
    distinct = {number for number in published if number > 1 and number != round(number)}
    for file in Path(variants.catalog.__file__).parent.glob("*.py"):
        typed = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
        assert not {number for number in typed if isinstance(number, float)} & distinct, file.name


def test_a_row_has_no_field_for_a_published_number() -> None:
    assert {field.name for field in fields(Variant)} == {
        "name", "family", "meaning", "source", "expects", "spec", "geometries", "recipe", "recipe_changes",
        "published", "readings",
    }  # fmt: skip


def test_a_difference_of_two_measurements_is_computed_with_the_digits_of_both() -> None:
    found = difference("code_2012_no_norm")
    assert (found.top1_points, found.top5_points, found.versus) == (1.37, 1.152, "code_2012")
    assert found.base == (40.664, 18.21)


@pytest.mark.parametrize(
    ("name", "points"), [("one_weird_trick", (0.9, 1.2)), ("caffe_alexnet", (0.3, 0.1))]
)
def test_a_difference_to_the_estimated_centre_error_of_run_145_has_the_digits_of_the_estimate(
    name: str, points: tuple[float, float]
) -> None:
    found = difference(name)
    assert (found.top1_points, found.top5_points) == points
    assert (found.versus, found.bound, found.protocol) == ("code_2012", "about", "centre")


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("one_weird_trick", ("torchvision", "code_2012")),
        ("caffe_alexnet", ("caffe", "code_2012")),
        ("owt_2014", ("owt_2014", "code_2012")),
        ("alexnet_bn", ("cvgj", "caffe")),
        ("code_2012_norm1_only", ("code_2012_dexp", "code_2012")),
        ("cnn_f", ("Chatfield et al.", "caffe")),
    ],
)
def test_a_difference_of_network_and_recipe_names_the_recipe_of_each_side(
    name: str, sides: tuple[str, str]
) -> None:
    found = difference(name)
    assert (found.recipe, found.versus_recipe) == sides
    assert not found.one_recipe
    text = " ".join(about_difference(found))
    assert f"different recipes: {sides[0]} for {name}, {sides[1]} for {found.versus}" in text


@pytest.mark.parametrize(
    "name", ["no_lrn", "caffenet", "zfnet", "no_fc7", "code_2012_half", "ungrouped"]
)
def test_a_difference_of_networks_alone_has_one_recipe(name: str) -> None:
    assert difference(name).one_recipe


def test_the_same_change_to_another_network_says_which_network_and_is_no_error_of_the_row() -> None:
    row = CATALOG["ungrouped"]
    assert (compared_with(row), errors(row)) == ("grouped_2gpu", ())
    assert "measured on another network: CaffeNet at 128 px" in " ".join(
        about_difference(difference("ungrouped"))
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no_lrn", "+1.4 / +1.2"),
        ("no_pca_colour", "> +1.0 / ?"),
        ("no_conv3", "≈ +2.0 / ?"),
        ("grouped_2gpu", "40.7 / 18.2 %"),
        ("he_init", "-"),
    ],
)
def test_the_list_shows_bounds_and_leaves_open_what_is_not_published(name: str, text: str) -> None:
    assert short(differences(CATALOG[name]), errors(CATALOG[name])) == text
