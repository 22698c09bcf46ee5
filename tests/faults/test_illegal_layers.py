"""Layers that no module could be are refused where the spec is made, in one sentence: field, value, what would work."""

from __future__ import annotations

from typing import Any

import pytest

from variants.catalog.paper import PAPER
from variants.layers import LRN, Conv, Pool
from variants.values import SpecError


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conv2": {"stride": 0}}, r"conv2: kernel=5, stride=0, .*at least 1"),
        ({"conv2": {"kernel": 0}}, r"conv2: kernel=0.*at least 1"),
        ({"conv2": {"padding": 5}}, r"conv2: .*padding=5; use .*below the kernel"),
        ({"conv2": {"padding": -1}}, r"conv2: .*padding=-1"),
        (
            {"conv2": {"separable": "depthwise_first"}},
            r"conv2: groups=2 with separable=depthwise_first; use groups=1",
        ),
        ({"pool1": {"padding": 2}}, r"pool1: padding=2 of size=3; use at most 1"),
    ],
)
def test_windows_that_no_module_has_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        PAPER.but(**changes)


@pytest.mark.parametrize(
    "layer", [Conv(name="late", out=2, kernel=1), Pool(name="late", size=1), LRN(name="late")]
)
def test_layers_on_maps_are_refused_after_a_dense_layer(layer: Any) -> None:
    with pytest.raises(SpecError, match=r"late: kind=\w+ after a dense layer .*before the first"):
        PAPER.after("fc6", layer)
