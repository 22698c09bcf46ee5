"""The manifest of prepared data: what it holds, earlier and later versions, and damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_folders import break_files, picture, replace_contents

from harness.data.base import LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.prepare import manifest
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings, load_manifest
from harness.errors import DataError
from harness.machine import doctor
from harness.serialization import to_plain


def test_the_manifest_tells_source_counts_settings_and_versions(
    ready: Callable[..., Prepared], tree: Path
) -> None:
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
    number: int,
    loader: str,
    ready: Callable[..., Prepared],
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    break_files(tree)
    first = ready(skip_bad_images=True, loader=loader)
    (first.folder / "manifest.json").write_text(json.dumps(as_format(number, first.folder)))
    monkeypatch.setattr("harness.data.prepare.passes.scan_images", None)
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
    with pytest.raises(
        DataError, match="has format 4, and this version reads up to 3; update this program"
    ):
        ready()
    assert file.read_text() == later


def test_what_a_later_version_prepared_hides_nothing_that_is_usable(
    ready: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ready()
    newer = first.folder.with_name("folder-newer")
    newer.mkdir()
    manifest_text = (first.folder / "manifest.json").read_text()
    (newer / "manifest.json").write_text(signed(json.loads(manifest_text) | {"format": 4}))
    assert ready(path=None).folder == first.folder
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    newer.rename(newer.with_name("fashion_mnist-b"))
    finding = doctor.data()
    assert finding.state == "missing"
    assert "fashion_mnist-b: the prepared data has format 4" in finding.detail
    first.folder.rename(newer.with_name("fashion_mnist-a"))
    finding = doctor.data()
    assert finding.state == "ok"
    assert finding.detail.startswith(
        "fashion_mnist is prepared (fashion_mnist-a); fashion_mnist-b: the prepared data"
    )


@pytest.mark.parametrize("number", [0, -1, 2.5])
def test_a_format_that_never_was_is_prepared_again(
    number: float, ready: Callable[..., Prepared]
) -> None:
    file = ready().folder / "manifest.json"
    file.write_text(signed(json.loads(file.read_text()) | {"format": number}))
    assert load_manifest(file.parent) is None
    assert ready().manifest.format == 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder, for the fuzz tests below, which change its manifest only."""
    root = tmp_path_factory.mktemp("fuzz")
    for split in ("train", "val"):
        for i in range(2):
            picture(root / f"images/{split}/{'ab'[i]}/{i}.png", i)
    stored_as = StoreSettings(store_size=8)
    made = prepare(
        "folder", stored_as, path=root / "images", loader="folder", cache=root / "cache", workers=1
    )
    assert made.folder is not None
    return made.folder


@pytest.mark.fuzz
@given(
    place=st.floats(0, 1, exclude_max=True), new=st.binary(min_size=1, max_size=4), kept=st.floats(0, 1)
)
def test_a_manifest_with_damaged_bytes_is_remade(
    written: Path, place: float, new: bytes, kept: float
) -> None:
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


ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)


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
    with pytest.raises(
        DataError, match=r"train\.jsonl is damaged; remove .* and prepare the data set again"
    ):
        manifest.Listing.load(tmp_path / "train.jsonl")


@pytest.mark.parametrize("name", ["manifest.json", "statistics.npz", "train.jsonl"])
@pytest.mark.parametrize("damage", ["cut", "foreign", "gone"])
def test_torn_and_foreign_files_are_made_again(
    ready: Callable[..., Prepared], name: str, damage: str
) -> None:
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
