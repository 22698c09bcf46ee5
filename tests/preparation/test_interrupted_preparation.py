"""A preparation that is interrupted, or that the disk refuses, leaves whole files or none."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import refuse
from image_folders import cached
from PIL import Image

from harness.data.base import Prepared
from harness.data.prepare import manifest
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings, data_file, folder_lock
from harness.errors import DataError, UsageError


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_torn(
    loader: str, memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write after the first pass fails, as on a disk that fills up then."""
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    # imports what is imported lazily
    prepare(memory, StoreSettings(store_size=12), loader="folder", cache=tmp_path / "elsewhere")

    full = refuse(errno.ENOSPC)
    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr("harness.files.os.fsync", full, raising=False)
    monkeypatch.setattr(manifest.os, "fsync", full)
    with pytest.raises(DataError, match=r"(?i)disk is full|no space left"):
        prepare(memory, StoreSettings(store_size=12), loader=loader, cache=tmp_path / "cache")
    assert cached(tmp_path) == []


def test_png_files_are_all_there_or_none(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_read_only_cache_is_one_sentence(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acted, since root may write everywhere."""

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DataError, match="can't be written to; point HARNESS_CACHE to one that can"):
        ready()


def wait_for_the_parents_lock(folder: Path) -> None:
    try:
        with folder_lock(folder):
            os._exit(1)
    except UsageError:
        os._exit(7)


def test_a_child_that_would_wait_for_its_parent_for_ever_is_told_so(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "x"):
        child = multiprocessing.get_context("spawn").Process(
            target=wait_for_the_parents_lock, args=(tmp_path / "x",)
        )
        child.start()
        child.join(20)
        assert child.exitcode == 7
