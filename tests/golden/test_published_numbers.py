"""The published numbers against each other: what follows from others is recomputed here to the last digit."""

from __future__ import annotations

import pytest

from harness.published.history import history, speeds
from harness.published.targets import targets
from variants.catalog import CATALOG
from variants.layers import LRN, Conv

NUMBERS = {target.id: target for target in targets()}


@pytest.mark.parametrize(
    ("run", "baseline", "top1", "top5"),
    [
        ("run_145-half", "run_145-2010", 1.6953, 1.230),
        ("run_147", "run_145", 0.394, 0.300),
        ("run_148", "run_145", 1.370, 1.152),
        ("run_150", "run_145", 1.164, 1.120),
        ("run_137", "run_145", 0.118, 0.134),
        ("run_170", "run_145", -0.136, -0.162),
        ("run_167", "run_170", -0.040, 0.070),
        ("run_167", "run_145", -0.176, -0.092),
        ("run_120", "run_131", 0.110, 0.140),
        ("run_170-quant", "run_170", -0.004, 0.368),
        ("run_177", "run_170", 0.162, 0.256),
        ("run_145-continued", "run_145", -0.414, -0.216),
        ("run_146-2012-2011", "run_145", -1.674, -1.588),
        ("zf.no_conv3_conv4", "zf.replica", 4.9, 4.0),
        ("zf.no_fc7", "zf.replica", -0.5, 0.3),
        ("zf.no_fc6_fc7", "zf.replica", 4.3, 4.3),
        ("zf.no_3_4_6_7", "zf.replica", 30.8, 32.0),
        ("zf.fc_2048", "zf.replica", 1.2, 0.7),
        ("zf.fc_8192", "zf.replica", -0.5, 0.0),
        ("zf.zfnet", "zf.replica", -2.1, -1.6),
    ],
)
def test_difference_of_two_runs_is_computed_to_the_last_digit(run, baseline, top1, top5):
    assert NUMBERS[f"{run}/top1_error-{baseline}"].published == top1
    assert NUMBERS[f"{run}/top5_error-{baseline}"].published == top5
    assert NUMBERS[f"{run}/top1_error-{baseline}"].unit == "points"


@pytest.mark.parametrize(
    ("change", "accuracy_points"),
    [
        ("lrn", -0.1),
        ("activation.tanh", -7.0),
        ("pool.2x2", 1.3),
        ("batch_norm.after_dropout_02", 5.6),
        ("nesterov", 0.2),
        ("ungrouped", 1.6),
        ("rotation", -2.3),
        ("gap", 2.3),
        ("images_200k", -16.6),
        ("dropout.in_convs", -4.5),
    ],
)
def test_gain_in_accuracy_on_caffenet128_reads_as_loss_in_error(change, accuracy_points):
    assert NUMBERS[f"caffenet128.{change}/top1_error-caffenet128.base"].published == -accuracy_points


def test_paper_rounds_what_the_log_says():
    pairs = [
        ("paper.t1", "run_145-2010"),
        ("paper.t1.centre", "run_145-2010.centre"),
        ("paper.t2.one_cnn", "run_145"),
    ]
    for printed, logged in pairs:
        for measure in ("top1_error", "top5_error"):
            paper, log = NUMBERS[f"{printed}/{measure}"], NUMBERS[f"{logged}/{measure}"]
            # 0.05 is half of the last printed digit; 1e-9 allows for binary fractions
            assert abs(paper.published - log.published) <= 0.05 + 1e-9
            assert (paper.data, paper.split, paper.protocol) == (log.data, log.split, log.protocol)


def test_paper_rounds_the_differences_that_the_log_says():
    pairs = {"one_gpu": "run_145-half", "lrn": "run_148", "pool": "run_147"}
    for printed, logged in pairs.items():
        for measure in ("top1_error", "top5_error"):
            baseline = "run_145-2010" if printed == "one_gpu" else "run_145"
            paper, log = (
                NUMBERS[f"paper.{printed}/{measure}"],
                NUMBERS[f"{logged}/{measure}-{baseline}"],
            )
            assert round(abs(paper.published - log.published), 6) <= 0.05


def test_ten_views_take_off_a_point_and_a_half_and_one_and_three_tenths():
    def gain(measure: str) -> float:
        return round(
            NUMBERS[f"paper.t1.centre/{measure}"].published - NUMBERS[f"paper.t1/{measure}"].published,
            6,
        )

    assert (gain("top1_error"), gain("top5_error")) == (1.5, 1.3)


def test_ninety_epochs_in_five_to_six_days_are_208_to_267_images_per_second():
    first = history()[0]
    assert first.high is not None
    assert (int(first.throughput.images_per_second), round(first.high.images_per_second)) == (208, 267)


def test_milliseconds_a_batch_give_the_images_per_second_quoted_from_them():
    rates = {row.id: round(row.throughput.images_per_second) for row in speeds()}
    assert rates["titan_x_2016_cudnn4_fp32"] == 1580
    assert rates["titan_x_2016_cudnn4_fp16"] == 1803
    assert rates["titan_x_2016_caffe"] == 395
    assert rates["caffe_2014_k40"] == 193


def test_accuracies_are_read_as_errors_with_the_same_digits():
    caffe, torchvision = NUMBERS["caffe.alexnet/top1_error"], NUMBERS["torchvision.alexnet/top5_error"]
    assert (caffe.published, caffe.value, caffe.published_as) == (42.9, 0.429, "top1_accuracy")
    assert (torchvision.published, torchvision.value) == (20.934, 0.20934)


@pytest.mark.parametrize(
    "number",
    [
        n
        for n in NUMBERS.values()
        if n.measure in ("parameters", "macs") and n.variant and n.bound == "equals"
    ],
)
def test_published_counts_are_those_of_the_layer_table(number):
    assert getattr(CATALOG[number.variant].spec, number.measure) == number.published


def test_largest_convolution_holds_more_than_the_paper_allows():
    spec = CATALOG["grouped_2gpu"].spec
    largest = max(row.parameters for row in spec.rows if isinstance(row.layer, Conv))
    assert (
        round(100 * largest / spec.parameters, 2)
        == NUMBERS["arithmetic.grouped_2gpu.conv_share/largest_conv_percent"].published
    )


def test_neurons_are_the_outputs_of_the_weighted_layers_and_the_input_is_not_counted():
    rows = [row for row in CATALOG["grouped_2gpu"].spec.rows if row.parameters]
    neurons = [row.output[0] * row.output[1] * row.output[2] for row in rows]
    assert sum(neurons) == NUMBERS["arithmetic.grouped_2gpu.neurons/neurons"].published
    assert neurons[0] == NUMBERS["arithmetic.grouped_2gpu.neurons/conv1_neurons"].published


@pytest.mark.parametrize("number", [n for n in NUMBERS.values() if n.measure == "torch_lrn_alpha"])
def test_torch_alpha_is_the_rows_alpha_where_it_divides_and_five_times_it_where_not(number):
    norm = CATALOG[number.variant].spec.layer("norm1")
    assert isinstance(norm, LRN)
    assert norm.alpha * (1 if norm.divide_by_size else norm.size) == pytest.approx(
        number.published, rel=1e-12
    )


def test_views_of_the_11_percent_net_are_not_stated_as_the_code_had_nine_and_later_ten():
    assert NUMBERS["cuda_convnet.11pct/top1_error"].protocol == "not_stated"
    assert "cuda_convnet.11pct/top1_error" in [target.id for target in targets("cifar_11pct")]


def test_net_without_normalisation_has_both_labels_that_its_author_gave_it():
    """13 % in cuda-convnet, 12 % in the 2012 code: the same layers, trained for longer."""
    labels = {
        target.source: target.published for target in targets("cifar_13pct") if target.source != "paper"
    }
    assert labels == {"cuda_convnet": 13.0, "code_2012": 12.0}


@pytest.mark.parametrize(
    ("protocol", "printed"), [("centre", (42.548, 19.81)), ("ten_view", (40.42, 18.15))]
)
def test_one_gpu_net_of_2014_has_the_digits_of_its_page(protocol, printed):
    errors = [
        NUMBERS[f"owt_2014.{protocol}/{measure}"].published for measure in ("top1_error", "top5_error")
    ]
    assert tuple(errors) == printed
