"""Parameters and multiply-accumulates of every row at full size (CIFAR nets: at their own), and maps of the known nets.

Published or counted by hand: the paper's 60 million, torchvision's 61,100,840, the article's totals. The rest was
computed once and stands here so that no edit changes a net unnoticed.
"""

from __future__ import annotations

import pytest

from variants.catalog import CATALOG
from variants.catalog.edits import each, named
from variants.layers import Conv, Inception, Pool

PAPER = (60_965_224, 724_406_816)
TOTALS = {
    "grouped_2gpu": PAPER,
    "single_gpu": (59_798_312, 391_514_384),
    "ungrouped": (62_378_344, 1_135_256_096),
    "no_lrn": PAPER,
    "non_overlapping_pool": PAPER,
    "tanh": PAPER,
    "no_dropout": PAPER,
    "no_conv3": (59_858_920, 537_506_336),
    "no_conv4": (60_301_288, 612_266_528),
    "no_conv3_conv4": (59_268_712, 437_826_080),
    "no_fc7": (44_183_912, 707_629_600),
    "no_fc6_fc7": (11_551_080, 675_000_864),
    "fc_2048": (27_455_848, 690_901_536),
    "no_pca_colour": PAPER,
    "no_weight_decay": PAPER,
    "zero_biases": PAPER,
    "code_2012": PAPER,
    "code_2012_half": (59_798_312, 391_514_384),
    "code_2012_pool2": (60_965_224, 686_891_552),
    "code_2012_no_norm": PAPER,
    "code_2012_no_crosstalk": (60_714_408, 724_323_872),
    "code_2012_norm1_only": PAPER,
    "caffe_alexnet": PAPER,
    "caffenet": PAPER,
    "one_weird_trick": (61_100_840, 714_188_480),
    "owt_2014": (61_100_840, 714_188_480),
    "alexnet_bn": (60_965_230, 724_406_816),
    "cnn_f": (60_834_536, 724_005_632),
    "zfnet": (62_357_608, 1_168_032_896),
    "cifar_4layer_relu": (89_578, 12_298_240),
    "cifar_4layer_tanh": (89_578, 12_298_240),
    "cifar_4layer_local_relu": (1_901_386, 32_919_552),
    "cifar_4layer_local_tanh": (1_901_386, 32_919_552),
    "cifar_18pct": (89_578, 12_298_240),
    "cifar_13pct": (1_116_490, 18_517_248),
    "cifar_13pct_lrn": (1_116_490, 18_517_248),
    "cifar_13pct_lrn9": (1_116_490, 18_517_248),
    "cifar_11pct": (2_112_970, 19_512_576),
    "article": (22_567_063, 184_524_763),
    "article_section4": (22_686_359, 162_981_595),
    "depthwise_separable": (59_013_427, 139_961_051),
    "batch_norm": (60_967_976, 724_406_816),
    "inception_after_conv2_conv3": (63_308_776, 1_524_060_704),
    "global_average_pool": (24_265_064, 687_706_656),
    "residual_conv4": PAPER,
    "second_pool_overlaps_only": PAPER,
    "dropout_before_relu": PAPER,
    "lrn_after_pool": PAPER,
    "spatial_lrn": PAPER,
    "he_init": PAPER,
    "gradient_clipping": PAPER,
    "label_smoothing": PAPER,
    "nesterov": PAPER,
    "inverse_sqrt_rate": PAPER,
    "step_100k": PAPER,
    "rotate_scale_crop": PAPER,
}

# side of the map after conv1, each pool, and what the first dense layer reads
MAPS = {
    "grouped_2gpu": (55, [27, 13, 6], 9216),
    "non_overlapping_pool": (55, [27, 13, 6], 9216),
    "single_gpu": (55, [27, 13, 6], 9216),
    "one_weird_trick": (55, [27, 13, 6], 9216),
    "owt_2014": (55, [27, 13, 6], 9216),
    "code_2012": (55, [27, 13, 6], 9216),
    "code_2012_pool2": (55, [28, 13, 6], 9216),
    "caffe_alexnet": (55, [27, 13, 6], 9216),
    "cnn_f": (54, [27, 13, 6], 9216),
    "zfnet": (110, [55, 13, 6], 9216),
    "article": (55, [27, 13], 256),
    "cifar_18pct": (32, [16, 8, 4], 1024),
    "cifar_13pct": (24, [12, 6], 1152),
}

PAPER_LAYERS = {
    "conv1": (34_944, 105_415_200),
    "conv2": (307_456, 223_948_800),
    "conv3": (885_120, 149_520_384),
    "conv4": (663_936, 112_140_288),
    "conv5": (442_624, 74_760_192),
    "fc6": (37_752_832, 37_748_736),
    "fc7": (16_781_312, 16_777_216),
    "fc8": (4_097_000, 4_096_000),
}


def test_every_row_of_the_project_has_a_known_total() -> None:
    assert list(TOTALS) == [name for name, row in CATALOG.items() if row.family != "own"]


@pytest.mark.parametrize("name", TOTALS)
def test_row_has_its_parameters_and_macs(name: str) -> None:
    spec = CATALOG[name].spec
    assert (spec.parameters, spec.macs) == TOTALS[name]


@pytest.mark.parametrize("name", MAPS)
def test_row_has_its_map_sizes(name: str) -> None:
    rows = CATALOG[name].spec.rows
    conv1 = next(row.output[2] for row in rows if row.layer.name == "conv1")
    pools = [row.output[2] for row in rows if isinstance(row.layer, Pool)]
    dense = next(row.input[0] for row in rows if row.layer.kind == "dense")
    assert (conv1, pools, dense) == MAPS[name]


@pytest.mark.parametrize("name", PAPER_LAYERS)
def test_the_papers_layer_costs_what_its_shape_says(name: str) -> None:
    row = next(row for row in CATALOG["grouped_2gpu"].spec.rows if row.layer.name == name)
    assert (row.parameters, row.macs) == PAPER_LAYERS[name]


def test_the_article_with_dense_convolutions_costs_ten_times_the_macs() -> None:
    """28.0 million parameters and 1.90 GMACs dense, against 22.6 million and 0.18: the saving of claim 11 is real."""
    spec = CATALOG["article"].spec
    dense = each(each(spec, named(spec, Conv), separable="no"), named(spec, Inception), separable=False)
    assert (dense.parameters, dense.macs) == (28_040_140, 1_898_226_208)


def test_the_article_without_inception_costs_103_million_macs() -> None:
    without = CATALOG["article"].spec.without("inception2", "inception3")
    assert (without.parameters, without.macs) == (22_331_031, 103_277_275)


def test_the_paper_has_659272_neurons() -> None:
    """The abstract's 650,000; figure 2 lists 55x48x96 for conv1, a slip for 55x55x96."""
    rows = CATALOG["grouped_2gpu"].spec.rows
    neurons = sum(
        r.output[0] * r.output[1] * r.output[2] for r in rows if r.layer.kind in ("conv", "dense")
    )
    assert neurons == 659_272
