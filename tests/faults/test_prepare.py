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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data.base import CropRule, LoaderSettings, Prepared
from harness.data.loaders import factory
from harness.data.loaders.factory import open_loader
from harness.data.names import Split
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
        stored_as = StoreSettings(**({"store_size": 16} | stored))
        options = {"path": tree, "loader": "folder", "cache": tmp_path / "cache", "workers": 1}
        return prepare("folder", stored_as, **(options | changes))

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
    assert len(told.pop("checksum")) == 64
    assert told == to_plain(prepared.manifest)
    assert told["format"] == 3
    assert told["digest_of"] == "listing and contents"
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


def as_format(number: int, folder: Path) -> dict[str, Any]:
    """The manifest of a folder as an earlier version wrote it: number 1 by version 0.1.0."""
    plain = json.loads((folder / "manifest.json").read_text())
    del plain["checksum"], plain["digest_of"], plain["stamps"]
    plain["spec"]["listing"] = "0" * 64
    if number == 1:
        bad = [{"split": split, **row} for split in ("train", "val") for row in plain["skipped"][split]]
        del plain["ignored"], plain["source"]["contents"]
        plain |= {"skipped": bad}
    return plain | {"format": number}


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_what_an_earlier_version_prepared_is_not_prepared_again(
    number: int, loader: str, ready: Callable[..., Prepared], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    break_files(tree)
    first = ready(skip_bad_images=True, loader=loader)
    (first.folder / "manifest.json").write_text(json.dumps(as_format(number, first.folder)))
    monkeypatch.setattr("harness.data.prepare.job.scan_images", None)
    again = ready(loader=loader)
    assert again.folder == first.folder
    assert again.spec == replace(first.spec, listing="0" * 64)
    assert again.manifest.digest_of == "listing"
    assert again.manifest.skipped == first.manifest.skipped
    loaded = open_loader(again, "train", LoaderSettings(batch_size=9, workers=0), loader)
    with loaded.epoch(0) as batches:
        assert len(next(batches).labels) == 3


def test_what_an_earlier_version_prepared_is_prepared_again_where_the_source_moved_or_changed(
    ready: Callable[..., Prepared], tree: Path
) -> None:
    """That version kept no digest of the contents, so nothing says that these are the images."""
    file = ready().folder / "manifest.json"
    file.write_text(json.dumps(as_format(2, file.parent)))
    moved = ready(path=tree.rename(tree.with_name("moved")))
    assert moved.manifest.digest_of == "listing and contents"
    assert moved.folder != file.parent
    tree.with_name("moved").rename(tree)
    assert ready().folder == file.parent
    replace_contents(tree / "train/a/0.png")
    assert ready().folder != file.parent


def signed(plain: dict[str, Any]) -> str:
    plain = {name: entry for name, entry in plain.items() if name != "checksum"}
    return json.dumps(plain | {"checksum": manifest._checksum(plain)})


def test_what_a_later_version_prepared_is_not_written_over(ready: Callable[..., Prepared]) -> None:
    file = ready().folder / "manifest.json"
    later = signed(json.loads(file.read_text()) | {"format": 4, "new": 1})
    file.write_text(later)
    with pytest.raises(DataError, match="has format 4, and this version reads up to 3; update this program"):
        ready()
    assert file.read_text() == later


def replace_contents(path: Path) -> None:
    """Other pixels in as many bytes, now."""
    whole = path.read_bytes()
    picture(path, 77)
    other = path.read_bytes()
    assert other != whole
    assert len(other) == len(whole)


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
    with pytest.raises(DataError, match=r"the images in .*/train changed since folder was prepared; run: .* --path "):
        stored(open_prepared(first.folder))
    assert ready(path=one).spec.listing != first.spec.listing


def test_a_file_that_changed_in_place_is_noticed(ready: Callable[..., Prepared], tree: Path) -> None:
    one, _ = two_alike(tree)
    first = ready(path=one)
    replace_contents(one / "train/b/3.bmp")
    assert ready(path=one).spec.listing != first.spec.listing


def test_a_source_that_was_only_touched_keeps_its_digest_and_folder(ready: Callable[..., Prepared], tree: Path) -> None:
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
        with pytest.raises(DataError, match=r"which held the images of folder, is not there; run: .* --path FOLDER"):
            stored(ready(path=None))
    else:
        monkeypatch.setattr("harness.data.prepare.job._write_beton", None)
    again = ready(path=moved, loader=loader)
    assert (again.spec, again.folder) == (first.spec, first.folder)
    assert again.manifest.source.path == str(moved)
    if loader == "folder":
        assert stored(again) == stored(ready(path=None)) == before
    monkeypatch.setattr("harness.data.prepare.job.scan_images", None)
    assert ready(path=moved, loader=loader).spec == first.spec


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder, for the fuzz tests below, which change its manifest only."""
    root = tmp_path_factory.mktemp("fuzz")
    for split in ("train", "val"):
        for i in range(2):
            picture(root / f"images/{split}/{'ab'[i]}/{i}.png", i)
    stored_as = StoreSettings(store_size=8)
    made = prepare("folder", stored_as, path=root / "images", loader="folder", cache=root / "cache", workers=1)
    assert made.folder is not None
    return made.folder


@pytest.mark.fuzz
@given(place=st.floats(0, 1, exclude_max=True), new=st.binary(min_size=1, max_size=4), kept=st.floats(0, 1))
def test_a_manifest_with_damaged_bytes_is_remade(written: Path, place: float, new: bytes, kept: float) -> None:
    file = written / "manifest.json"
    whole = file.read_bytes()
    known = load_manifest(written)
    assert known is not None
    at = int(place * len(whole))
    damaged = whole[:at] + new + whole[at + len(new) :]
    try:
        for content in (damaged, whole[: int(kept * len(whole))]):
            file.write_bytes(content)
            assert load_manifest(written) in (None, known)
    finally:
        file.write_bytes(whole)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), number=st.sampled_from([1, 2, 3]))
def test_a_manifest_of_other_values_is_read_or_remade_and_nothing_else(
    written: Path, data: st.DataObject, number: int
) -> None:
    """One field holds anything at all; in format 3 the checksum fits."""
    file = written / "manifest.json"
    whole = file.read_bytes()
    plain = json.loads(whole) if number == 3 else as_format(number, written)
    place = plain
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(ANYTHING)
    try:
        file.write_text(signed(plain) if number == 3 else json.dumps(plain))
        try:
            found = load_manifest(written)
        except DataError as later:
            assert "update this program" in str(later)  # noqa: PT017
        else:
            assert found is None or found.format == 3
    finally:
        file.write_bytes(whole)


def test_a_damaged_listing_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('[0, null, "a.png"]\n[0, null]\n')
    with pytest.raises(DataError, match=r"train\.jsonl is damaged; remove .* and prepare the data set again"):
        manifest.Listing.load(tmp_path / "train.jsonl")


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
