"""Claims of the paper that need no run: computes them from the layer table and compares them with the
printed values.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.published.schema import ClaimTest
from harness.report.verdicts import Verdict
from variants.layers import Conv
from variants.spec import AlexNetSpec

ABOUT = 0.05  # relative tolerance for a printed round number
STORED_SIDE = 256  # side in pixels of the square from which the paper draws crops (sec. 2)


def neurons(spec: AlexNetSpec) -> int:
    """Number of outputs of the layers with weights; the input is not counted."""
    shapes = [row.output for row in spec.rows if row.parameters]
    return sum(channels * height * width for channels, height, width in shapes)


def largest_conv_percent(spec: AlexNetSpec) -> float:
    """In percent of all parameters."""
    return (
        100 * max(row.parameters for row in spec.rows if isinstance(row.layer, Conv)) / spec.parameters
    )


def crops_and_mirrors(spec: AlexNetSpec) -> int:
    """Number of different crops and flips of one stored square."""
    return 2 * (STORED_SIDE - spec.input_size + 1) ** 2


COUNTS: dict[str, Callable[[AlexNetSpec], float]] = {
    "parameters": lambda spec: spec.parameters,
    "neurons": neurons,
    "largest_conv_percent": largest_conv_percent,
    "crops_and_mirrors": crops_and_mirrors,
}


def settle(test: ClaimTest, spec: AlexNetSpec) -> tuple[str, Verdict]:
    """The computed value as text, and whether the printed number is right."""
    counted, printed = COUNTS[test.measure](spec), test.expected
    assert printed is not None  # every such claim has a printed number
    holds = {
        "about": abs(counted - printed) <= ABOUT * printed,
        "equals": counted == printed,
        "at_most": counted <= printed,
        "less_than": counted < printed,
        "more_than": counted > printed,
    }[test.bound]
    text = f"{counted:.2f} %" if test.unit == "percent" else f"{counted:,.0f}"
    return text, "reproduced" if holds else "contradicted"
