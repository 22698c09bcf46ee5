"""The commands of `bench`; the speeds themselves are no test's business."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            ("step", "no_lrn", "--no-peers", "--compare", "batch_size=4"),
            {"images_per_second", "share_of_gemm", "forward_ms", "bound_by", "roofline_reached", "low"},
        ),
        (("roofline", "no_lrn"), {"layers", "gemm_gflops", "conv_gflops", "copy_1_mib_gb_per_s"}),
        (
            ("loader", "no_lrn", "--data", "synthetic"),
            {"images_per_cpu_second", "ratio_to", "loader_name"},
        ),
        (("pipeline", "no_lrn", "--data", "synthetic"), {"bound_by", "loader", "step", "both"}),
    ],
)
def test_each_command_prints_one_json_object(
    call: Any, words: tuple[str, ...], keys: set[str], brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # others use it, too
    monkeypatch.setattr("harness.bench.layers.refuse_above_bound", lambda layers: None)
    said = call("bench", *words, "--windows", "5", "--json", "--set", "batch_size=8")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert keys <= set(found)
    assert (found["batch_size"], found["overrides"]) == (8, ["batch_size=8"])
    if words[0] == "step":
        assert set(found["ratios"]) == set(found["ratio_to"]) == {"batch_size=4"}
        assert found["ratios"]["batch_size=4"]["low"] <= found["ratios"]["batch_size=4"]["per_second"]
    if words[0] == "loader":
        assert {"torchvision_pil", "torchvision_tensor", "timm"} == set(found["ratio_to"])
        assert set(found["missing"]) == {"ffcv_stock"}


def test_what_does_not_fit_is_one_sentence(call: Any) -> None:
    other = call("bench", "step", "no_lrn", "--compare", "no_lnr")
    assert (other.code, "Did you mean 'no_lrn'" in other.err) == (2, True)
    plot = call("bench", "roofline", "--plot", "roof.jpeg")
    assert (plot.code, "its name must end with .svg or .pdf or .png" in plot.err) == (2, True)
