"""The table of studies: named lists of runs to compare. runs.py says which of them are missing, and
runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.errors import unknown
from harness.studies.long import CARD, LONG_STUDIES
from harness.studies.study import Study
from variants.catalog import CATALOG

MOST_SEEDS = 100  # of a variant, where --minutes says how long to go on


def _trainable(boxes: bool) -> tuple[str, ...]:
    """Rows with a mini geometry, either with or without a box head."""
    rows = [row for row in CATALOG.values() if "mini" in row.geometries]
    return tuple(row.name for row in rows if (row.spec.box is not None) == boxes)


STUDIES: dict[str, Study] = {
    "reproduce": Study(
        meaning="the networks of README's table, small, on any machine", variants=CARD, seeds=5
    ),
    "catalogue": Study(
        meaning="every row of the catalogue that fits 32 pixels", variants=_trainable(boxes=False)
    ),
    "article": Study(
        meaning="the article's networks, with classifier and box head, and the paper's",
        variants=("grouped_2gpu", *_trainable(boxes=True)),
        data="boxes",
    ),
    **LONG_STUDIES,
    "imagenet": Study(
        meaning="the same at full size with the paper's recipe; needs --path to ImageNet and a GPU",
        variants=CARD,
        recipe="paper",
        data="imagenet",
        seeds=1,
    ),
}


def name_of_several(names: Sequence[str]) -> str:
    """The name of a report on these studies, such as "ablations+columns"; studies_in reads it."""
    return "+".join(dict.fromkeys(names))


def studies_in(name: str) -> list[str]:
    """The studies of a report by its name."""
    return name.split("+")


def study_named(name: str, **changes: Any) -> Study:
    """The study with the fields that are not None changed. Raises UsageError with a suggestion."""
    if name not in STUDIES:
        raise unknown("study", name, STUDIES, "python -m harness reproduce --help")
    return replace(STUDIES[name], **{field: new for field, new in changes.items() if new is not None})
