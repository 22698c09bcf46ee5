"""Data is prepared once, and again when the source has changed, by contents and not only by names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_folders import picture, replace_contents

from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.names import Split
from harness.data.prepare.job import open_prepared, prepare
from harness.data.prepare.manifest import StoreSettings
from harness.errors import DataError, UsageError


def test_a_second_call_decodes_nothing(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready()
    monkeypatch.setattr("harness.data.prepare.passes.scan_images", None)
    again = ready()
    assert again.spec == first.spec
    assert (again.mean == first.mean).all()


def test_a_change_of_the_source_is_noticed(ready: Callable[..., Prepared], tree: Path) -> None:
    first = ready()
    picture(tree / "train/a/new.png")
    assert ready().spec.listing != first.spec.listing


def test_without_a_path_the_preparation_made_before_is_taken(ready: Callable[..., Prepared]) -> None:
    first = ready()
    assert ready(path=None).spec == first.spec
    with pytest.raises(UsageError, match=r"is not prepared at 20 pixels .* --path FOLDER --size 20"):
        ready(path=None, store_size=20)


def test_a_limit_is_part_of_the_data_sets_identity(ready: Callable[..., Prepared]) -> None:
    whole, part = ready(), ready(limit=(2, 2))
    assert (part.spec.train_images, part.spec.val_images) == (2, 2)
    assert part.spec.listing != whole.spec.listing
    assert part.manifest.counts["train"] == {"a": 1, "b": 1}


def stored(prepared: Prepared, split: Split = "train") -> list[Any]:
    loader = open_loader(prepared, split, LoaderSettings(batch_size=9, workers=0), "folder")
    with loader.epoch(0) as batches:
        return next(batches).images.tolist()


def two_alike(tree: Path) -> tuple[Path, Path]:
    """Two folders of the same names, sizes and times and of other pixels: the size of a bitmap is that of its shape."""
    found = tree.with_name("one"), tree.with_name("two")
    for folder, shift in zip(found, (0, 100), strict=True):
        for i in range(8):
            path = folder / f"{'train' if i < 4 else 'val'}/{'ab'[i % 2]}/{i}.bmp"
            picture(path, i + shift)
            os.utime(path, (1e9, 1e9))  # as an archive unpacks them
    return found


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_folders_of_the_same_names_and_sizes_but_other_contents_differ(
    ready: Callable[..., Prepared], tree: Path, loader: str
) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    first, second = (ready(path=path, loader=loader) for path in two_alike(tree))
    assert first.spec.listing != second.spec.listing
    assert first.folder != second.folder
    assert (first.mean != second.mean).any()
    for prepared in (first, second):
        again = ready(path=Path(prepared.manifest.source.path or ""), loader=loader)
        assert (again.folder, again.spec) == (prepared.folder, prepared.spec)


def test_a_folder_replaced_by_one_of_the_same_names_sizes_and_times_is_noticed(
    ready: Callable[..., Prepared], tree: Path
) -> None:
    one, two = two_alike(tree)
    first = ready(path=one)
    one.rename(tree.with_name("old"))
    two.rename(one)
    with pytest.raises(
        DataError, match=r"the images in .*/train changed since folder was prepared; run: .* --path "
    ):
        stored(open_prepared(first.folder))
    assert ready(path=one).spec.listing != first.spec.listing


def test_a_file_that_changed_in_place_is_noticed(ready: Callable[..., Prepared], tree: Path) -> None:
    one, _ = two_alike(tree)
    first = ready(path=one)
    replace_contents(one / "train/b/3.bmp")
    assert ready(path=one).spec.listing != first.spec.listing


def test_a_source_that_was_only_touched_keeps_its_digest_and_folder(
    ready: Callable[..., Prepared], tree: Path
) -> None:
    first = ready()
    before = stored(first)
    os.utime(tree / "train/b/3.png", (1e9, 1e9))
    again = ready()
    assert (again.spec, again.folder) == (first.spec, first.folder)
    assert again.manifest.stamps != first.manifest.stamps
    assert stored(again) == before


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_a_moved_source_is_taken_up_at_its_new_path(
    ready: Callable[..., Prepared], tree: Path, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    first = ready(loader=loader)
    before = stored(first) if loader == "folder" else None
    moved = tree.rename(tree.with_name("elsewhere"))
    if loader == "folder":
        with pytest.raises(
            DataError, match=r"which held the images of folder, is not there; run: .* --path FOLDER"
        ):
            stored(ready(path=None))
    else:
        monkeypatch.setattr("harness.data.prepare.passes._write_beton", None)
    again = ready(path=moved, loader=loader)
    assert (again.spec, again.folder) == (first.spec, first.folder)
    assert again.manifest.source.path == str(moved)
    if loader == "folder":
        assert stored(again) == stored(ready(path=None)) == before
    monkeypatch.setattr("harness.data.prepare.passes.scan_images", None)
    assert ready(path=moved, loader=loader).spec == first.spec


def test_a_prepared_folder_is_opened_without_its_source(
    ready: Callable[..., Prepared], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready()
    monkeypatch.setattr("harness.data.sources.class_folders.list_folder", None)
    again = open_prepared(first.folder)
    assert again.manifest == first.manifest
    assert (again.mean == first.mean).all()
    (first.folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="is gone or was changed; prepare the data set again"):
        open_prepared(first.folder)


def test_a_cache_can_be_moved(memory: str, tmp_path: Path) -> None:
    prepare(memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = prepare(memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "new")
    loader = open_loader(
        moved,
        "val",
        LoaderSettings(batch_size=6, crop=CropRule(), seed=0, shuffle=False, workers=0),
        "folder",
    )
    with loader.epoch(0) as batches:
        assert next(batches).labels.tolist() == [0, 1, 0, 1, 0, 1]
