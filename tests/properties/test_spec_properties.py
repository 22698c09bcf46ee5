"""For any legal spec: JSON gives it back, a shape never comes out empty, and shrinking keeps what it must."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from harness.serialization import from_json, to_json
from harness.variant_diff import network
from variants.catalog import CATALOG
from variants.geometry import to_mini
from variants.layers import LRN, Activation, Conv, Dense, Dropout, Init, Layer, Pool
from variants.recipes import RECIPES, apply
from variants.recipes.recipe import Recipe
from variants.spec import AlexNetSpec
from variants.values import SpecError

inits = st.builds(
    Init,
    scheme=st.sampled_from(["normal", "he_normal", "torch"]),
    std=st.floats(1e-4, 1.0),
    bias=st.floats(-7.0, 1.0),
)


@st.composite
def blocks(draw: st.DrawFn, number: int) -> list[Layer]:
    groups, kernel = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 3, 5]))
    conv = Conv(
        name=f"conv{number}",
        out=draw(st.integers(2, 12)) * 8,
        kernel=kernel,
        stride=draw(st.integers(1, 2)),
        padding=draw(st.integers(0, kernel // 2)),
        rule=draw(st.sampled_from(["floor", "ceil"])),
        groups=groups if number > 1 else 1,
        separable=draw(st.sampled_from(["no", "depthwise_first", "pointwise_first"]))
        if groups == 1
        else "no",
        init=draw(inits),
    )
    extras: list[Layer] = [
        Activation(name=f"relu{number}", function=draw(st.sampled_from(["relu", "tanh"]))),
        LRN(name=f"norm{number}", size=draw(st.sampled_from([3, 5, 9])), groups=groups),
        Pool(
            name=f"pool{number}",
            size=draw(st.integers(2, 3)),
            function=draw(st.sampled_from(["max", "avg"])),
        ),
    ]
    return [conv, *draw(st.permutations(extras))]


@st.composite
def specs(draw: st.DrawFn) -> AlexNetSpec:
    layers = [
        layer for number in range(1, draw(st.integers(1, 3)) + 1) for layer in draw(blocks(number))
    ]
    head: list[Layer] = [
        Dense(name="fc6", out=draw(st.integers(1, 8)) * 8, init=draw(inits)),
        Dropout(name="drop6"),
    ]
    classifier = Dense(name="fc8", out=draw(st.integers(2, 20)))
    try:
        return AlexNetSpec(input_size=draw(st.integers(96, 128)), layers=(*layers, *head, classifier))
    except SpecError:
        reject()  # shrunk to nothing


@given(specs())
@settings(deadline=None, max_examples=50)
def test_any_legal_spec_comes_back_from_json(spec: AlexNetSpec) -> None:
    assert from_json(to_json(spec), AlexNetSpec) == spec


@given(specs())
@settings(deadline=None, max_examples=50)
def test_any_legal_spec_adds_up_and_does_not_differ_from_itself(spec: AlexNetSpec) -> None:
    assert spec.parameters == sum(row.parameters for row in spec.rows)
    assert all(min(row.output) >= 1 for row in spec.rows)
    assert network(spec, spec) == []


@given(specs())
@settings(deadline=None, max_examples=50)
def test_shrinking_keeps_kinds_groups_norms_and_pools_or_refuses(spec: AlexNetSpec) -> None:
    try:
        mini = to_mini(spec)
    except SpecError:
        return  # a width of 2 kernels a group can't be quartered
    assert [layer.kind for layer in mini.layers] == [layer.kind for layer in spec.layers]
    assert Counter(getattr(layer, "groups", 0) for layer in mini.layers) == Counter(
        getattr(layer, "groups", 0) for layer in spec.layers
    )


@pytest.mark.parametrize("name", CATALOG)
def test_every_row_and_its_recipe_come_back_from_json(name: str) -> None:
    row = CATALOG[name]
    recipe = apply(RECIPES[row.recipe].recipe, row.recipe_changes)
    assert from_json(to_json(row.spec), AlexNetSpec) == row.spec
    assert from_json(to_json(recipe), Recipe) == recipe
