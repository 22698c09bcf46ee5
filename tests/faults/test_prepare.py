"""Preparing data: once, whole or not at all, and one sentence for bad input, full disks and interruptions.

Everything runs with the folder loader; what only .beton files have is skipped where ffcv is not installed.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders import factory
from harness.data.loaders.factory import open_loader
from harness.data.prepare import manifest
from harness.data.prepare.job import open_prepared, prepare
from harness.data.prepare.manifest import StoreSettings, data_file, folder_lock, load_manifest
from harness.data.sources import sources
from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import DataSource
from harness.errors import DataError, UsageError
from harness.serialization import to_plain


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for i in range(4):
        picture(tmp_path / f"images/train/{'ab'[i % 2]}/{i}.png", i)
        picture(tmp_path / f"images/val/{'ab'[i % 2]}/{i}.png", i + 9)
    return tmp_path / "images"


@pytest.fixture
def ready(tree: Path, tmp_path: Path) -> Callable[..., Prepared]:
    def make(**changes: Any) -> Prepared:
        stored = {name: changes.pop(name) for name in tuple(changes) if name in vars(StoreSettings(store_size=16))}
        settings = StoreSettings(**({"store_size": 16} | stored))
        options = {"path": tree, "loader": "folder", "cache": tmp_path / "cache", "workers": 1}
        return prepare("folder", settings, **(options | changes))

    return make


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> str:
    """A source whose pictures are no files, in the table for one test."""
    images = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    split = ArraySplit("memory", images, np.arange(6) % 2, ("a/b", "c"))
    row = DataSource(name="memory", description="-", classes=2, open=lambda *_: (split, split))
    monkeypatch.setitem(sources(), "memory", row)
    return "memory"


def cached(tmp_path: Path) -> list[str]:
    """What lies in the cache but for locks, relative to the folder of the one data set."""
    found = [path.relative_to(tmp_path / "cache/data") for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    return sorted("/".join(path.parts[1:]) for path in found if path.suffix != ".lock")


def test_the_manifest_tells_source_counts_settings_and_versions(ready: Callable[..., Prepared], tree: Path) -> None:
    prepared = ready()
    told = json.loads((prepared.folder / "manifest.json").read_text())
    assert told == to_plain(prepared.manifest)
    assert told["format"] == 2
    assert told["source"] == {"name": "folder", "path": str(tree), "contents": ""}
    assert told["counts"] == {"train": {"a": 2, "b": 2}, "val": {"a": 2, "b": 2}}
    assert told["settings"]["store_size"] == 16
    assert {"python", "numpy", "pillow"} <= set(told["versions"])
    assert told["spec"]["listing"] == prepared.spec.listing
    assert prepared.mean.shape == (3, 16, 16)


def test_a_second_call_decodes_nothing(ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    first = ready()
    monkeypatch.setattr("harness.data.prepare.job.scan_images", None)
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


def break_files(tree: Path) -> None:
    whole = (tree / "train/a/2.png").read_bytes()
    (tree / "train/a/2.png").write_bytes(whole[: len(whole) // 2])
    (tree / "train/b/notes.png").write_text("not an image")
    (tree / "val/b/1.png").write_bytes(b"")


def test_bad_files_are_named_and_counted(ready: Callable[..., Prepared], tree: Path, tmp_path: Path) -> None:
    break_files(tree)
    with pytest.raises(DataError, match=r"^3 of 9 files can't be read as images, the first is .*train/a/2\.png \("):
        ready()
    assert cached(tmp_path) == []


def test_bad_files_are_left_out_when_asked(ready: Callable[..., Prepared], tree: Path) -> None:
    whole = ready()
    break_files(tree)
    part = ready(skip_bad_images=True)
    assert (part.spec.train_images, part.spec.val_images) == (3, 3)
    skipped = {split: [Path(bad.name).name for bad in rows] for split, rows in part.manifest.skipped.items()}
    assert skipped == {"train": ["2.png", "notes.png"], "val": ["1.png"]}
    assert part.spec.listing != whole.spec.listing
    loader = open_loader(
        part, "train", LoaderSettings(batch_size=9, crop=CropRule(), seed=0, shuffle=False, workers=0), "folder"
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


def as_format_1(folder: Path) -> dict[str, Any]:
    """The manifest of a folder as version 0.1.0 wrote it."""
    plain = json.loads((folder / "manifest.json").read_text())
    bad = [{"split": split, **row} for split in ("train", "val") for row in plain["skipped"][split]]
    del plain["ignored"], plain["source"]["contents"]
    return plain | {"format": 1, "skipped": bad}


def test_what_version_0_1_0_prepared_is_not_prepared_again(
    ready: Callable[..., Prepared], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_files(tree)
    first = ready(skip_bad_images=True)
    (first.folder / "manifest.json").write_text(json.dumps(as_format_1(first.folder)))
    monkeypatch.setattr("harness.data.prepare.job.scan_images", None)
    again = ready()
    assert again.manifest == first.manifest
    assert again.folder == first.folder


def test_what_a_later_version_prepared_is_not_written_over(ready: Callable[..., Prepared]) -> None:
    file = ready().folder / "manifest.json"
    later = json.dumps(json.loads(file.read_text()) | {"format": 3})
    file.write_text(later)
    with pytest.raises(DataError, match="has format 3, and this version reads up to 2; update this program"):
        ready()
    assert file.read_text() == later


def test_names_that_are_not_utf8_are_prepared_and_read_again(ready: Callable[..., Prepared], tree: Path) -> None:
    (tree / "train/a").rename(tree / "train" / os.fsdecode(b"caf\xe9"))
    (tree / "val/a").rename(tree / "val" / os.fsdecode(b"caf\xe9"))
    first = ready()
    assert first.manifest.classes == ("b", "caf\\xe9")
    assert ready().manifest == first.manifest
    loader = open_loader(first, "train", LoaderSettings(batch_size=9, workers=0), "folder")
    with loader.epoch(0) as batches:
        assert next(batches).labels.tolist() == [0, 0, 1, 1]


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


def test_a_split_of_bad_files_only_is_refused_even_when_skipping(ready: Callable[..., Prepared], tree: Path) -> None:
    for file in (tree / "val").rglob("*.png"):
        file.write_text("no")
    with pytest.raises(DataError, match="none of the 4 files can be read as an image"):
        ready(skip_bad_images=True)


def test_a_decompression_bomb_is_a_bad_file(
    ready: Callable[..., Prepared], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # PIL refuses twice that, 400; the pictures have 480
    with pytest.raises(DataError, match=r"8 of 8 files .*decompression bomb"):
        ready()


@pytest.mark.parametrize("name", ["manifest.json", "statistics.npz", "train.jsonl"])
@pytest.mark.parametrize("damage", ["cut", "foreign", "gone"])
def test_torn_and_foreign_files_are_made_again(ready: Callable[..., Prepared], name: str, damage: str) -> None:
    first = ready()
    file = first.folder / name
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:-20] if damage == "cut" else b"\0" * len(whole))
    again = ready()
    assert again.spec == first.spec
    assert load_manifest(again.folder) is not None
    assert file.read_bytes() == whole


def test_torn_betons_are_written_again(ready: Callable[..., Prepared]) -> None:
    pytest.importorskip("ffcv")
    first = ready(loader="ffcv")
    file = first.folder / "train.beton"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    ready(loader="ffcv")
    assert file.read_bytes() == whole


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_torn(
    loader: str, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write after the first pass fails, as on a disk that fills up then."""
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    prepare(
        memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "elsewhere"
    )  # imports what is imported lazily

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr("harness.files.os.fsync", full, raising=False)
    monkeypatch.setattr(manifest.os, "fsync", full)
    with pytest.raises(DataError, match=r"(?i)disk is full|no space left"):
        prepare(memory, StoreSettings(store_size=12), loader=loader, cache=tmp_path / "cache")
    assert cached(tmp_path) == []


def test_png_files_are_all_there_or_none(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = Image.Image.save, []

    def interrupted(self: Image.Image, path: Path, **options: Any) -> None:
        saved.append(path)
        if len(saved) == 4:
            raise KeyboardInterrupt
        save(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "cache")
    assert cached(tmp_path) == ["manifest.json", "statistics.npz"]
    monkeypatch.undo()


@pytest.mark.parametrize("at", range(8))
def test_ctrl_c_at_any_moment_leaves_something_to_go_on_from(
    at: int, ready: Callable[..., Prepared], tmp_path: Path
) -> None:
    calls = []

    def interrupting(what: str, done: int, total: int | None) -> None:
        calls.append(what)
        if len(calls) == at + 1:
            raise KeyboardInterrupt

    try:
        ready(progress=interrupting)
    except KeyboardInterrupt:
        assert not [name for name in cached(tmp_path) if ".tmp" in name or ".partial" in name]
    assert ready().spec.train_images == 4


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")

    with pytest.raises(KeyboardInterrupt), data_file(file) as handle:  # noqa: PT012
        handle.write(b"half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]


def test_a_read_only_cache_is_one_sentence(ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    """Acted, since root may write everywhere."""

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DataError, match="can't be written to; point HARNESS_CACHE to one that can"):
        ready()


def test_two_preparations_at_once_take_turns(tmp_path: Path) -> None:
    order: list[str] = []
    first_in, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with folder_lock(tmp_path / "x"):
            first_in.set()
            go_on.wait(5)
            order.append("first")

    def second() -> None:
        with folder_lock(tmp_path / "x"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    first_in.wait(5)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert order == ["first", "second"]


def wait_for_the_parents_lock(folder: Path) -> None:
    try:
        with folder_lock(folder):
            os._exit(1)
    except UsageError:
        os._exit(7)


def test_a_child_that_would_wait_for_its_parent_for_ever_is_told_so(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "x"):
        child = multiprocessing.get_context("spawn").Process(target=wait_for_the_parents_lock, args=(tmp_path / "x",))
        child.start()
        child.join(20)
        assert child.exitcode == 7


def test_the_loader_that_can_not_run_says_why(ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    why = "ffcv is not installed; fix it with: python -m harness.setup.ffcv"
    monkeypatch.setattr(factory.ffcv, "status", lambda: (False, why))
    prepared = ready(loader="auto")
    loader = open_loader(
        prepared, "val", LoaderSettings(batch_size=2, crop=CropRule(), seed=0, shuffle=False, workers=0)
    )
    assert (loader.choice.name, loader.choice.reason) == ("folder", why)
    with pytest.raises(UsageError, match="the FFCV loader was asked for, but ffcv is not installed"):
        ready(loader="ffcv")


def test_a_loader_not_prepared_for_is_told_with_the_way_out(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory.ffcv, "status", lambda: (True, "it works"))
    prepared = ready()
    auto = open_loader(prepared, "val", LoaderSettings(batch_size=2, crop=CropRule(), seed=0, shuffle=False, workers=0))
    assert "was prepared for the folder loader only" in auto.choice.reason
    with pytest.raises(UsageError, match="run: python -m harness data prepare folder --loader ffcv"):
        open_loader(
            prepared, "val", LoaderSettings(batch_size=2, crop=CropRule(), seed=0, shuffle=False, workers=0), "ffcv"
        )


def test_jpeg_for_the_folder_loader_is_refused(ready: Callable[..., Prepared]) -> None:
    with pytest.raises(UsageError, match="the folder loader reads raw only"):
        ready(store_format="jpeg")


def test_a_cache_can_be_moved(memory: str, tmp_path: Path) -> None:
    prepare(memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = prepare(memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "new")
    loader = open_loader(
        moved, "val", LoaderSettings(batch_size=6, crop=CropRule(), seed=0, shuffle=False, workers=0), "folder"
    )
    with loader.epoch(0) as batches:
        assert next(batches).labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_jpeg_quality_without_jpeg_is_refused(ready: Callable[..., Prepared]) -> None:
    with pytest.raises(UsageError, match="goes with --format jpeg only"):
        ready(jpeg_quality=80)
