"""Every row says what it is and where that is written, and differs from its base in what it claims alone."""

from __future__ import annotations

import pytest

from harness.variant_diff import network, recipe
from variants.catalog import CATALOG, PAPER, Variant, get, names
from variants.layers import LRN, Activation
from variants.recipes import RECIPES, apply
from variants.spec import AlexNetSpec

ROWS = list(CATALOG.values())

# the layers that each delta of the paper's net touches
TOUCHED = {
    "single_gpu": {"conv1", "norm1", "conv2", "norm2", "conv3", "conv4", "conv5"},
    "ungrouped": {"norm1", "conv2", "norm2", "conv4", "conv5"},
    "no_lrn": {"norm1", "norm2"},
    "non_overlapping_pool": {"pool1", "pool2", "pool5"},
    "tanh": {f"relu{n}" for n in range(1, 8)},
    "no_dropout": {"drop6", "drop7"},
    "no_conv3": {"conv3", "relu3"},
    "no_conv4": {"conv4", "relu4"},
    "no_conv3_conv4": {"conv3", "relu3", "conv4", "relu4"},
    "no_fc7": {"fc7", "relu7", "drop7"},
    "no_fc6_fc7": {"fc6", "relu6", "drop6", "fc7", "relu7", "drop7"},
    "fc_2048": {"fc6", "fc7"},
    "zero_biases": {"conv2", "conv4", "conv5", "fc6", "fc7"},
    "depthwise_separable": {"conv1", "conv2", "conv3", "conv4", "conv5"},
    "batch_norm": {"bn1", "bn2", "bn3", "bn4", "bn5"},
    "inception_after_conv2_conv3": {"inception2", "inception3"},
    "global_average_pool": {"gap"},
    "residual_conv4": {"conv4"},
    "second_pool_overlaps_only": {"pool1", "pool5"},
    "dropout_before_relu": {"drop6", "drop7"},
    "lrn_after_pool": {"norm1"},
    "spatial_lrn": {"norm1", "norm2"},
    "he_init": {"conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"},
}
RECIPE_DELTAS = {
    "no_pca_colour": {"colour std"},
    "no_weight_decay": {"weight decay"},
    "gradient_clipping": {"clip norm"},
    "label_smoothing": {"smoothing"},
    "nesterov": {"nesterov"},
    "inverse_sqrt_rate": {"lr"},
    "step_100k": {"schedule"},
    "rotate_scale_crop": {"rotate degrees", "scale", "mirror", "colour std"},
}


def touched(spec: AlexNetSpec, base: AlexNetSpec) -> set[str]:
    return {one.place for one in network(base, spec)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_has_a_meaning_a_source_and_an_expectation(row: Variant) -> None:
    assert row.meaning
    assert row.source
    assert row.expects
    assert row.recipe in RECIPES
    assert row.geometries
    assert len(row.meaning) <= 100, "one line"


@pytest.mark.parametrize("name", TOUCHED)
def test_delta_touches_the_layers_it_claims_and_no_other(name: str) -> None:
    assert touched(CATALOG[name].spec, PAPER) == TOUCHED[name]
    assert CATALOG[name].recipe_changes == ()


@pytest.mark.parametrize("name", RECIPE_DELTAS)
def test_recipe_delta_leaves_the_net_alone(name: str) -> None:
    row = CATALOG[name]
    base = RECIPES["paper"].recipe
    assert row.spec == PAPER
    assert {one.what for one in recipe(base, apply(base, row.recipe_changes))} == RECIPE_DELTAS[name]


def test_every_row_of_the_paper_and_every_ingredient_is_a_known_delta() -> None:
    deltas = {row.name for row in ROWS if row.family in ("paper", "article")}
    assert deltas == {*TOUCHED, *RECIPE_DELTAS, "grouped_2gpu", "article", "article_section4"}


def test_runs_of_the_log_differ_from_run_145_where_the_log_says() -> None:
    code = CATALOG["code_2012"].spec
    assert touched(CATALOG["code_2012_no_norm"].spec, code) == {"norm1", "norm2", "rnorm2"}
    assert touched(CATALOG["code_2012_norm1_only"].spec, code) == {"norm2", "rnorm2"}
    assert touched(CATALOG["code_2012_pool2"].spec, code) == {
        "pool1",
        "pool2",
        "pool5",
        "conv2",
        "conv5",
    }
    assert touched(CATALOG["code_2012_no_crosstalk"].spec, code) == {"conv2", "conv3", "fc6", "fc7"}


def test_run_145_normalises_before_the_first_relu_and_after_the_second() -> None:
    order = [layer.name for layer in CATALOG["code_2012"].spec.layers]
    assert order[:9] == [
        "conv1",
        "norm1",
        "pool1",
        "relu1",
        "conv2",
        "relu2",
        "norm2",
        "rnorm2",
        "pool2",
    ]


def test_norms_see_one_column_in_the_paper_and_both_in_caffe() -> None:
    groups = {
        name: {n.groups for n in CATALOG[name].spec.layers if isinstance(n, LRN)} for name in CATALOG
    }
    assert groups["grouped_2gpu"] == groups["code_2012"] == {2}
    assert groups["caffe_alexnet"] == groups["caffenet"] == groups["ungrouped"] == {1}


def test_the_three_settings_of_response_normalisation_differ() -> None:
    """Paper as printed: alpha undivided, k 2; 2012 code: divided, k 2; Caffe: divided, k 1."""
    settings = {}
    for name in ("grouped_2gpu", "code_2012", "caffe_alexnet"):
        norm = CATALOG[name].spec.layer("norm1")
        assert isinstance(norm, LRN)
        settings[name] = (norm.divide_by_size, norm.k)
    assert settings == {
        "grouped_2gpu": (False, 2.0),
        "code_2012": (True, 2.0),
        "caffe_alexnet": (True, 1.0),
    }


def test_caffenet_pools_before_it_normalises() -> None:
    assert {one.what for one in network(CATALOG["caffe_alexnet"].spec, CATALOG["caffenet"].spec)} == {
        "place",
        "initial biases",
    }


def test_torchvision_drops_before_fc6_and_fc7() -> None:
    order = [layer.name for layer in CATALOG["one_weird_trick"].spec.layers]
    assert order[-9:] == ["pool5", "avgpool", "drop6", "fc6", "relu6", "drop7", "fc7", "relu7", "fc8"]


def test_figure_1_nets_are_twins_but_for_the_nonlinearity() -> None:
    relu, tanh = CATALOG["cifar_4layer_relu"], CATALOG["cifar_4layer_tanh"]
    assert {one.what for one in network(relu.spec, tanh.spec)} == {"function"}
    assert {layer.function for layer in tanh.spec.layers if isinstance(layer, Activation)} == {"tanh"}
    assert relu.recipe_changes == tanh.recipe_changes


def test_names_follow_shell_patterns_in_the_catalogues_order() -> None:
    assert names("no_conv*") == ["no_conv3", "no_conv4", "no_conv3_conv4"]
    assert names()[0] == "grouped_2gpu"
    assert names("nothing*") == []


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        get("no_lnr")
