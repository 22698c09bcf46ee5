"""Parameters and multiply-accumulates of every row at full size, as the sources give them or as counted by hand."""

from __future__ import annotations

import pytest

from variants.catalog import CATALOG

TOTALS: dict[str, tuple[int, int | None]] = {
    "grouped_2gpu": (60_965_224, 724_406_816),
    "single_gpu": (59_798_312, None),
    "no_lrn": (60_965_224, 724_406_816),
    "non_overlapping_pool": (60_965_224, 724_406_816),
    "ungrouped": (62_378_344, 1_135_256_096),
    "one_weird_trick": (61_100_840, 714_188_480),
}


@pytest.mark.parametrize("name", TOTALS)
def test_row_has_the_published_totals(name: str) -> None:
    spec = CATALOG[name].spec
    parameters, macs = TOTALS[name]
    assert (spec.parameters, spec.macs if macs else None) == (parameters, macs)
