"""The two questions about a difference: is there one here, and does it agree with the published one?"""

from __future__ import annotations

from math import nan
from types import SimpleNamespace
from typing import Any

import pytest

from harness.report.answers import agrees, different_here

ROW = {
    "mean": 0.02, "n": 5, "sd": 0.005, "seeds_low": 0.012, "seeds_high": 0.028, "images_low": 0.01, "images_high": 0.03,
    "at_chance": False, "dunnett_p": 0.012, "verdict": "inconclusive", "published": 0.014,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "here", "published"),
    [
        ({}, "significantly higher (p = 0.012)", "direction agrees"),
        ({"published": -0.014}, "significantly higher (p = 0.012)", "opposite direction"),
        ({"verdict": "reproduced"}, "significantly higher (p = 0.012)", "reproduced"),
        # another base: by the interval over seeds
        (
            {"dunnett_p": nan},
            "significantly higher",
            "direction agrees",
        ),
        ({"dunnett_p": 0.2}, "not significant, at most 2.8 points", "inconclusive"),
        ({"images_low": -0.001}, "not significant, at most 2.8 points", "inconclusive"),
        ({"sd": nan, "seeds_low": nan, "seeds_high": nan}, "unknown with one seed", "inconclusive"),
        ({"at_chance": True}, "no better than chance", "inconclusive"),
        (
            {
                "mean": -0.02,
                "seeds_low": -0.028,
                "seeds_high": -0.012,
                "images_low": -0.03,
                "images_high": -0.01,
            },
            "significantly lower (p = 0.012)",
            "opposite direction",
        ),
    ],
)
def test_both_answers(changes: dict[str, Any], here: str, published: str) -> None:
    row = SimpleNamespace(**{**ROW, **changes})
    assert (different_here(row), agrees(row)) == (here, published)
