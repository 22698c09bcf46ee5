"""Boxes from a source to a batch: in fractions of the stored square, the same from both loaders.

The comparison with FFCV is skipped where ffcv is not installed: there is nothing to compare with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.augment.boxes import box_in_centre_square
from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.prepare.export import stored_listing
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.resize import image_size, open_rgb
from harness.data.sources import sources
from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import DataSource, Subset
from harness.data.sources.class_folders import ImageFiles
from harness.data.sources.composed import ComposedSplit

BOXES = np.array([[0.25, 0.0, 0.5, 1.0], [0.0, 0.5, 0.5, 0.25], [0.5, 0.2, 0.1, 0.1]], dtype=np.float32)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> str:
    """Three pictures, 20 wide and 10 high, of which squares keep the middle half."""
    split = ArraySplit("wide", np.zeros((3, 10, 20, 3), dtype=np.uint8), np.arange(3) % 2, ("a", "b"))
    split.boxes = BOXES
    row = DataSource(
        name="wide", description="-", classes=2, boxes=True, open=lambda *_: (split, split)
    )
    monkeypatch.setitem(sources(), "wide", row)
    return "wide"


def boxes_of(prepared: Prepared, loader: str) -> torch.Tensor:
    opened = open_loader(
        prepared,
        "train",
        LoaderSettings(batch_size=3, crop=CropRule(), seed=0, shuffle=False, workers=0),
        loader,
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
def test_the_square_of_a_wide_picture_keeps_its_middle(
    box: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert box_in_centre_square((box[0], box[1], box[2], box[3]), 20, 10) == pytest.approx(expected)
    turned, turned_expected = (
        (box[1], box[0], box[3], box[2]),
        (expected[1], expected[0], expected[3], expected[2]),
    )
    assert box_in_centre_square(turned, 10, 20) == pytest.approx(turned_expected)


def test_the_folder_loader_gives_boxes_of_the_stored_square(wide: str, tmp_path: Path) -> None:
    prepared = prepare(wide, StoreSettings(store_size=8), loader="folder", cache=tmp_path)
    assert prepared.spec.boxes
    expected = [[0, 0, 1, 1], [0, 0.5, 0.5, 0.25], [0.5, 0.2, 0.2, 0.1]]
    np.testing.assert_allclose(boxes_of(prepared, "folder").numpy(), expected, atol=1e-6)


def test_the_listing_decodes_nothing_and_tells_how_far_it_is(
    wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Image.new("RGB", (20, 10)).save(tmp_path / f"{number}.jpg")
    labels, told = np.arange(3) % 2, list[tuple[str, int, int | None]]()
    files = ImageFiles(tmp_path, ("a", "b"), [f"{n}.jpg" for n in range(3)], labels, [1] * 3, BOXES)
    for decoder in ("Image.Image.convert", "Image.Image.resize", "ImageFile.ImageFile.load"):
        monkeypatch.setattr(f"PIL.{decoder}", None)
    listing = stored_listing(Subset(files, np.array([0, 2])), "train", lambda *line: told.append(line))
    assert listing.boxes is not None
    np.testing.assert_allclose(listing.boxes, [[0, 0, 1, 1], [0.5, 0.2, 0.2, 0.1]], atol=1e-6)
    assert told == [("reading train sizes", 1, 2), ("reading train sizes", 2, 2)]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "PPM"])
def test_a_size_is_that_of_the_decoded_picture_even_with_an_orientation_tag(
    form: str, tmp_path: Path
) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a", form, exif=turned)
    assert image_size(tmp_path / "a") == open_rgb(tmp_path / "a").size


def test_every_source_tells_the_size_of_its_pictures() -> None:
    plain = ArraySplit("grey", np.zeros((2, 28, 26), dtype=np.uint8), np.arange(2), ("a", "b"))
    for split in (plain, ComposedSplit(plain, 0), Subset(plain, np.array([1]))):
        assert split.size(0) == split.item(0).shape[1::-1]


def test_ffcv_gives_the_same_boxes(wide: str, tmp_path: Path) -> None:
    pytest.importorskip("ffcv")
    prepare(wide, StoreSettings(store_size=8), loader="folder", cache=tmp_path)
    prepared = prepare(wide, StoreSettings(store_size=8), loader="ffcv", cache=tmp_path)
    found = boxes_of(prepared, "ffcv")
    assert found.dtype == torch.float32
    assert torch.equal(found, boxes_of(prepared, "folder"))
