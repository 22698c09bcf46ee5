"""Boxes from a source to a batch: in fractions of the stored square, the same from both loaders.

The comparison with FFCV is skipped where ffcv is not installed: there is nothing to compare with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.augment.boxes import box_in_centre_square
from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.sources import sources
from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import DataSource

BOXES = np.array([[0.25, 0.0, 0.5, 1.0], [0.0, 0.5, 0.5, 0.25], [0.5, 0.2, 0.1, 0.1]], dtype=np.float32)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> str:
    """Three pictures, 20 wide and 10 high, of which squares keep the middle half."""
    split = ArraySplit("wide", np.zeros((3, 10, 20, 3), dtype=np.uint8), np.arange(3) % 2, ("a", "b"))
    split.boxes = BOXES
    row = DataSource(name="wide", description="-", classes=2, boxes=True, open=lambda *_: (split, split))
    monkeypatch.setitem(sources(), "wide", row)
    return "wide"


def boxes_of(prepared: Prepared, loader: str) -> torch.Tensor:
    opened = open_loader(
        prepared, "train", LoaderSettings(batch_size=3, crop=CropRule(), seed=0, shuffle=False, workers=0), loader
    )
    with opened.epoch(0) as batches:
        boxes = next(batches).boxes
    assert boxes is not None
    return boxes


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.25, 0.0, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0)),
        ((0.0, 0.5, 0.5, 0.25), (0.0, 0.5, 0.5, 0.25)),
        ((0.5, 0.2, 0.1, 0.1), (0.5, 0.2, 0.2, 0.1)),
        ((0.9, 0.2, 0.1, 0.1), (1.0, 0.2, 0.0, 0.1)),
    ],
)
def test_the_square_of_a_wide_picture_keeps_its_middle(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert box_in_centre_square((box[0], box[1], box[2], box[3]), 20, 10) == pytest.approx(expected)
    turned, turned_expected = (box[1], box[0], box[3], box[2]), (expected[1], expected[0], expected[3], expected[2])
    assert box_in_centre_square(turned, 10, 20) == pytest.approx(turned_expected)


def test_the_folder_loader_gives_boxes_of_the_stored_square(wide: str, tmp_path: Path) -> None:
    prepared = prepare(wide, StoreSettings(store_size=8), loader="folder", cache=tmp_path)
    assert prepared.spec.boxes
    expected = [[0, 0, 1, 1], [0, 0.5, 0.5, 0.25], [0.5, 0.2, 0.2, 0.1]]
    np.testing.assert_allclose(boxes_of(prepared, "folder").numpy(), expected, atol=1e-6)


def test_ffcv_gives_the_same_boxes(wide: str, tmp_path: Path) -> None:
    pytest.importorskip("ffcv")
    prepare(wide, StoreSettings(store_size=8), loader="folder", cache=tmp_path)
    prepared = prepare(wide, StoreSettings(store_size=8), loader="ffcv", cache=tmp_path)
    found = boxes_of(prepared, "ffcv")
    assert found.dtype == torch.float32
    assert torch.equal(found, boxes_of(prepared, "folder"))
