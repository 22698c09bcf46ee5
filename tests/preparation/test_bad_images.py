"""Files that are no images, or too large ones: named and counted, or left out when asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from image_folders import break_files, cached
from PIL import Image

from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.errors import DataError


def test_bad_files_are_named_and_counted(
    ready: Callable[..., Prepared], tree: Path, tmp_path: Path
) -> None:
    break_files(tree)
    with pytest.raises(
        DataError, match=r"^3 of 9 files can't be read as images, the first is .*train/a/2\.png \("
    ):
        ready()
    assert cached(tmp_path) == []


def test_bad_files_are_left_out_when_asked(ready: Callable[..., Prepared], tree: Path) -> None:
    whole = ready()
    break_files(tree)
    part = ready(skip_bad_images=True)
    assert (part.spec.train_images, part.spec.val_images) == (3, 3)
    skipped = {
        split: [Path(bad.name).name for bad in rows] for split, rows in part.manifest.skipped.items()
    }
    assert skipped == {"train": ["2.png", "notes.png"], "val": ["1.png"]}
    assert part.spec.listing != whole.spec.listing
    loader = open_loader(
        part,
        "train",
        LoaderSettings(batch_size=9, crop=CropRule(), seed=0, shuffle=False, workers=0),
        "folder",
    )
    with loader.epoch(0) as batches:
        assert next(batches).labels.tolist() == [0, 1, 1]


def test_that_bad_files_are_left_out_is_remembered(ready: Callable[..., Prepared], tree: Path) -> None:
    break_files(tree)
    first = ready(skip_bad_images=True)
    for path in (tree, None):
        assert ready(path=path).manifest == first.manifest
        assert ready(path=path).manifest.left_out == 3


def test_a_new_bad_file_is_refused_again(ready: Callable[..., Prepared], tree: Path) -> None:
    break_files(tree)
    ready(skip_bad_images=True)
    (tree / "train/a/new.png").write_text("not an image")
    with pytest.raises(DataError, match="4 of 10 files can't be read as images"):
        ready()


def test_names_that_are_not_utf8_are_prepared_and_read_again(
    ready: Callable[..., Prepared], tree: Path
) -> None:
    (tree / "train/a").rename(tree / "train" / os.fsdecode(b"caf\xe9"))
    (tree / "val/a").rename(tree / "val" / os.fsdecode(b"caf\xe9"))
    first = ready()
    assert first.manifest.classes == ("b", "caf\\xe9")
    assert ready().manifest == first.manifest
    loader = open_loader(first, "train", LoaderSettings(batch_size=9, workers=0), "folder")
    with loader.epoch(0) as batches:
        assert next(batches).labels.tolist() == [0, 0, 1, 1]


def test_a_split_of_bad_files_only_is_refused_even_when_skipping(
    ready: Callable[..., Prepared], tree: Path
) -> None:
    for file in (tree / "val").rglob("*.png"):
        file.write_text("no")
    with pytest.raises(DataError, match="none of the 4 files can be read as an image"):
        ready(skip_bad_images=True)


def test_a_decompression_bomb_is_a_bad_file(
    ready: Callable[..., Prepared], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PIL refuses twice that, 400; the pictures have 480
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(DataError, match=r"8 of 8 files .*decompression bomb"):
        ready()
