"""A preparation for FFCV that is killed goes on where it was, to the same bytes, and reads less again."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from image_folders import cached, picture

pytest.importorskip("ffcv")

from harness.data.base import Prepared
from harness.data.ffcv import one_pass
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.prepare.parts import data_of, groups_of
from harness.data.sources.class_folders import ImageFiles
from harness.errors import DataError

TRAIN, VAL, GROUP = 40, 12, 8
LIVED = 0


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_pass, "GROUP", GROUP)
    monkeypatch.setattr(one_pass, "CHUNK", 4)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for split, count in (("train", TRAIN), ("val", VAL)):
        for number in range(count):
            picture(
                tmp_path / "images" / split / "ab"[number % 2] / f"{number:02}.png",
                number + 100 * len(split),
            )
    return tmp_path / "images"


def ready(images: Path, cache: Path, **options: Any) -> Prepared:
    settings = StoreSettings(store_size=16)
    return prepare(
        "folder", settings, path=images, loader="ffcv", cache=cache, **({"workers": 1} | options)
    )


def betons(prepared: Prepared) -> list[bytes]:
    return [(prepared.folder / f"{split}.beton").read_bytes() for split in ("train", "val")]


@pytest.fixture
def whole(images: Path, tmp_path: Path) -> Prepared:
    """A preparation that was not killed, in a cache of its own."""
    return ready(images, tmp_path / "whole")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are read from here on."""
    names, real = list[str](), ImageFiles.item_and_digest

    def counted(self: ImageFiles, index: int) -> Any:
        names.append(self.name(index))
        return real(self, index)

    monkeypatch.setattr(ImageFiles, "item_and_digest", counted)
    return names


def killed(work: Callable[[Callable[..., None]], object], *, image: int = -1, call: int = -1) -> int:
    """`work(progress)` in a fork that is killed when so many images are done, or at its file-system call `call`."""
    child = os.fork()
    if child == 0:
        calls, seen = itertools.count(1), itertools.count(1)

        def hook(event: str, _: object) -> None:
            if event.startswith(("open", "os.")) and next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        def progress(what: str, done: int, total: int | None) -> None:
            if what.startswith("preparing") and next(seen) == image:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            work(progress)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("step", range(1, 15))
def test_what_was_kept_is_not_read_again_and_the_bytes_are_the_same(
    images: Path, tmp_path: Path, whole: Prepared, read: list[str], step: int
) -> None:
    """A progress line is 4 images or the start of a split, and a group is two lines."""
    cache = tmp_path / "cache"
    assert killed(lambda progress: ready(images, cache, progress=progress), image=step) != LIVED
    kept = sum(1 for _ in cache.rglob("*.npz")) * GROUP
    again = ready(images, cache)
    assert betons(again) == betons(whole)
    assert again.spec == whole.spec
    # the last group of the validation set is half of one
    assert len(read) <= TRAIN + VAL - kept + GROUP // 2
    assert kept >= 4 * (step - 3) - GROUP
    assert cached(tmp_path) == ["manifest.json", "statistics.npz", "train.beton", "val.beton"]


def test_killed_at_any_file_system_call_it_goes_on_to_the_same_bytes(
    images: Path, tmp_path: Path, whole: Prepared
) -> None:
    """Every call at which a file is opened, renamed, made or removed, in steps; some of them twice."""
    chance = random.Random(2012)
    cache = tmp_path / "cache"
    for call in itertools.count(1, 41):
        status = killed(lambda _: ready(images, cache), call=call)
        killed(lambda _: ready(images, cache), call=chance.randint(1, 150))
        again = ready(images, cache)
        assert betons(again) == betons(whole)
        assert again.spec == whole.spec
        shutil.rmtree(cache)
        if status == LIVED:
            break
    assert call > 100


def stop_at(images: Path, cache: Path, step: int) -> None:
    assert killed(lambda progress: ready(images, cache, progress=progress), image=step) != LIVED


def test_a_kept_group_that_was_damaged_is_made_again(
    images: Path, tmp_path: Path, whole: Prepared, read: list[str]
) -> None:
    stop_at(images, tmp_path / "cache", 10)
    (beton,) = [
        path.with_name("train.beton") for path in (tmp_path / "cache").rglob("train.beton.part")
    ]
    with data_of(beton).open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        last = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert len(list(groups_of(beton).glob("*.npz"))) == 4
    assert betons(ready(images, tmp_path / "cache")) == betons(whole)
    assert len(read) == TRAIN + VAL - 3 * GROUP


def test_a_source_that_changed_is_read_from_the_start(
    images: Path, tmp_path: Path, read: list[str]
) -> None:
    stop_at(images, tmp_path / "cache", 9)
    os.utime(images / "train/a/00.png", (1, 1))
    ready(images, tmp_path / "cache")
    assert len(read) == TRAIN + VAL


def test_every_image_is_read_once_whatever_the_workers(
    images: Path, tmp_path: Path, read: list[str]
) -> None:
    one = ready(images, tmp_path / "one")
    assert sorted(read) == sorted(set(read))
    assert len(read) == TRAIN + VAL
    assert betons(ready(images, tmp_path / "two", workers=2)) == betons(one)


def test_bad_images_are_left_out_or_refused_also_after_a_kill(images: Path, tmp_path: Path) -> None:
    (images / "train/a/04.png").write_text("not an image")
    cache = tmp_path / "cache"
    stop_at(images, cache, 9)
    with pytest.raises(DataError, match="1 of 52 files"):
        ready(images, cache)
    assert cached(tmp_path) == []
    stop_at(images, cache, 9)
    prepared = ready(images, cache, skip_bad_images=True)
    assert prepared.spec.train_images == TRAIN - 1
    scanned = prepare(
        "folder", StoreSettings(store_size=16), path=images, loader="folder", cache=tmp_path / "scan",
        skip_bad_images=True,
    )  # fmt: skip
    assert prepared.spec == scanned.spec
    assert (prepared.mean == scanned.mean).all()
    assert (prepared.eigenvectors == scanned.eigenvectors).all()
