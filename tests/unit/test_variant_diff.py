"""Differences come from the specs alone: all that matter, none that doesn't."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.variant_diff import Difference, Trained, differences, network, recipe
from variants.catalog import CATALOG, PAPER
from variants.layers import Dense, Pool
from variants.recipes import RECIPES, apply
from variants.spec import AlexNetSpec


def trained(name: str) -> Trained:
    row = CATALOG[name]
    return row.spec, apply(RECIPES[row.recipe].recipe, row.recipe_changes)


def said(found: list[Difference]) -> set[tuple[str, str, str, str]]:
    return {(one.place, one.what, one.a, one.b) for one in found}


@pytest.mark.parametrize("name", CATALOG)
def test_a_row_does_not_differ_from_itself(name: str) -> None:
    assert differences(trained(name), trained(name)) == []


@pytest.mark.parametrize("name", [name for name in CATALOG if name != "grouped_2gpu"])
def test_every_row_differs_from_the_papers_and_the_same_way_back(name: str) -> None:
    there = differences(trained("grouped_2gpu"), trained(name))
    back = differences(trained(name), trained("grouped_2gpu"))
    assert there
    assert {(d.place, d.what) for d in there if d.what != "place"} == {
        (d.place, d.what) for d in back if d.what != "place"
    }


def test_code_2012_differs_from_the_paper_in_what_its_files_say() -> None:
    found = said(differences(trained("grouped_2gpu"), trained("code_2012")))
    assert {
        ("relu1", "place", "after conv1", "after pool1"),
        ("norm1", "alpha", "0.0001", "0.0001 / 5"),
        ("rnorm2", "layer", "none", "spatial lrn, window 5x5, alpha 0.001, beta 0.75, k 1"),
        ("conv3", "initial weights", "N(0, 0.01)", "N(0, 0.03)"),
        (
            "training",
            "learning rates by parameter",
            "none",
            "parameter bias, lr factor 2, weight decay factor 0, schedule fixed drops, at epochs none, factor 0.1",
        ),
        ("augmentation", "images per draw", "1", "32"),
        ("augmentation", "colour scale", "eigenvalue", "std"),
        ("augmentation", "divide by", "1", "1.1"),
    } <= found


def test_one_weird_trick_differs_from_the_paper_in_layers_that_readers_overlook() -> None:
    found = said(differences(trained("grouped_2gpu"), trained("one_weird_trick")))
    assert {
        ("conv1", "kernels", "96", "64"),
        ("conv1", "padding", "0", "2"),
        ("conv1", "output rule", "ceil, 3 beyond the edge", "floor"),
        ("norm1", "layer", "lrn, maps 5, alpha 0.0001, beta 0.75, k 2, groups 2", "none"),
        ("conv2", "groups", "2", "1"),
        ("conv2", "initial biases", "1", "torch's uniform"),
        ("drop6", "place", "after relu6", "after avgpool"),
        ("pixels", "divide by std", "no", "58.395, 57.12, 57.375"),
        ("evaluation", "protocols", "centre, mirror, ten view", "centre"),
    } <= found


def test_an_output_rule_that_gives_the_same_map_is_no_difference() -> None:
    assert network(PAPER, PAPER.but(pool1={"rule": "floor"})) == []
    assert network(PAPER, replace(PAPER, input_size=227)) == [
        Difference(part="network", place="input", what="size", a="224x224", b="227x227"),
        Difference(
            part="network", place="conv1", what="output rule", a="ceil, 3 beyond the edge", b="exact"
        ),
    ]


def test_a_std_that_the_start_does_not_use_is_no_difference() -> None:
    torch = CATALOG["one_weird_trick"].spec
    start = replace(torch.layer("conv1").init, std=0.5)  # type: ignore[union-attr]
    assert network(torch, torch.but(conv1={"init": start})) == []


def test_a_moved_norm_is_reported_as_a_place() -> None:
    assert said(network(PAPER, PAPER.move("norm1", after="pool1"))) == {
        ("norm1", "place", "after relu1", "after pool1")
    }


def test_an_added_layer_is_shown_at_its_position_in_the_net() -> None:
    wider = PAPER.after("relu3", Pool(name="pool3", size=3, stride=1, padding=1)).but(
        conv1={"out": 64}, fc8={"out": 10}
    )
    assert [one.place for one in network(PAPER, wider)] == ["conv1", "pool3", "fc8"]


def test_a_box_head_is_a_layer_like_any_other() -> None:
    article = CATALOG["article"].spec
    assert said(network(article, replace(article, box=None))) == {("box", "layer", "dense 4", "none")}


def test_the_scale_of_a_colour_noise_that_is_off_is_no_difference() -> None:
    paper = RECIPES["paper"].recipe
    off = apply(paper, (("augmentation.colour_std", 0.0), ("augmentation.colour_scale", "std")))
    assert [(one.what, one.b) for one in recipe(paper, off)] == [("colour std", "0")]


def test_a_recipes_name_is_no_difference_and_evaluation_is_protocol() -> None:
    paper = RECIPES["paper"].recipe
    other = apply(paper, (("name", "mine"), ("evaluation.protocols", ("centre",))))
    assert [one.part for one in recipe(paper, other)] == ["protocol"]


def test_a_window_that_fits_under_one_rule_only_is_a_difference() -> None:
    tiny = AlexNetSpec(
        input_size=2, layers=(Pool(name="pool1", size=3, rule="ceil"), Dense(name="fc8", out=10))
    )
    padded = tiny.but(pool1={"size": 2, "rule": "floor"})
    assert said(network(tiny, padded)) == {
        ("pool1", "window", "3x3", "2x2"),
        ("pool1", "output rule", "ceil, 1 beyond the edge", "exact"),
    }
