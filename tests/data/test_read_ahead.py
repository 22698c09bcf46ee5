"""Reading ahead: what the system is asked for, in which order, and that nothing else changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ffcv")

import beton_items as items

from harness.data.base import Batch, CropRule, LoaderSettings
from harness.data.ffcv import decoders, ops, read_ahead
from harness.data.ffcv import loader as ffcv_loader
from harness.data.ffcv.library import Reader
from harness.data.ffcv.loader import FfcvLoader
from harness.data.ffcv.read_ahead import (
    BATCHES,
    ONCE,
    image_plan,
    outgrows_memory,
    page_plan,
    reading_ahead,
)
from harness.data.ffcv.write import write_beton
from harness.data.page_order import Pages, page_order, page_sequence
from harness.data.prepare.manifest import StoreSettings

N, BATCH, SEED = 43, 4, 5
PAGES = Pages(images=3, together=4)
SIZE = 3 * items.SIDE**2
NOWHERE = np.zeros(1, dtype=np.uint8)


@pytest.fixture(scope="module")
def beton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("beton") / "train.beton"
    write_beton(path, N, items.noise_item, StoreSettings(store_size=items.SIDE))
    return path


class Asked:
    """A double of os.posix_fadvise."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []
        self.threads = set[str]()

    def __call__(self, handle: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        assert length <= ONCE
        os.fstat(handle)  # it is open
        self.parts.append((offset, length))
        self.threads.add(threading.current_thread().name)


def table_of(beton: Path) -> Any:
    return Reader(str(beton)).alloc_table


def test_the_images_of_the_next_batches_are_asked_for_in_their_order_and_once(beton: Path) -> None:
    table, order, asked = table_of(beton), page_order(SEED, 0, N, PAGES), Asked()
    places = [(int(table["ptr"][image]), SIZE) for image in order]
    with reading_ahead(beton, image_plan(table, order, BATCH), advise=asked) as before:
        assert before is not None
        for batch in range(11):
            before(batch, NOWHERE)
            assert asked.parts == places[: (1 + batch + BATCHES) * BATCH]
    assert asked.threads == {threading.current_thread().name}


def test_pages_are_asked_for_one_group_ahead_by_a_thread(beton: Path) -> None:
    table, asked = table_of(beton), Asked()
    nothing = read_ahead.Plan(np.zeros((0, 2), dtype=np.int64), 1, 1)
    sequence = page_sequence(SEED, 0, N, PAGES).tolist()
    starts = [(int(table["ptr"][3 * page]), SIZE * min(3, N - 3 * page)) for page in sequence]
    with reading_ahead(beton, nothing, page_plan(table, PAGES, SEED, 0, BATCH), asked) as before:
        assert before is not None
        for batch in range(11):
            before(batch, NOWHERE)
            wanted = starts[: (batch + 1) * BATCH // 3 + PAGES.together]
            wait_until(lambda: len(asked.parts) >= len(wanted))  # noqa: B023
            assert asked.parts == wanted
    assert len(asked.parts) == PAGES.count(N)
    assert all("read-ahead" in name for name in asked.threads)


def test_a_large_part_is_asked_for_in_pieces(beton: Path) -> None:
    asked = Asked()
    spans = np.array([[100, 100 + 2 * ONCE + 7]])
    with reading_ahead(beton, read_ahead.Plan(spans, 1, 0), advise=asked) as before:
        assert before is not None
        before(0, NOWHERE)
    assert asked.parts == [(100, ONCE), (100 + ONCE, ONCE), (100 + 2 * ONCE, 7)]


def test_only_a_file_that_outgrows_half_of_the_memory_is_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sparse"
    path.touch()
    monkeypatch.setattr(read_ahead, "memory_limit_mib", lambda: 100)
    for mib, expected in ((1, False), (50, False), (51, True), (1000, True)):
        os.truncate(path, mib << 20)
        assert outgrows_memory(path) is expected


def test_leaving_early_asks_for_no_more(beton: Path) -> None:
    slow = Slow()
    spans = np.stack([np.arange(100), np.arange(100) + 1], axis=1)
    nothing = read_ahead.Plan(np.zeros((0, 2), dtype=np.int64), 1, 1)
    with reading_ahead(beton, nothing, read_ahead.Plan(spans, 1, 99), slow) as before:
        assert before is not None
        before(0, NOWHERE)
    time.sleep(0.3)  # 15 times as long as it takes to ask for one
    assert slow.count < 10


def test_leaving_does_not_wait_for_a_disk_that_hangs(beton: Path) -> None:
    answers = threading.Event()
    spans = np.array([[0, 1]])
    nothing = read_ahead.Plan(np.zeros((0, 2), dtype=np.int64), 1, 1)
    began = time.monotonic()
    with reading_ahead(
        beton, nothing, read_ahead.Plan(spans, 1, 0), lambda *_: answers.wait(20)
    ) as before:
        assert before is not None
        before(0, NOWHERE)
    assert time.monotonic() - began < 5
    answers.set()


class Slow:
    count = 0

    def __call__(self, *_: int) -> None:
        self.count += 1
        time.sleep(0.02)


def refuses(*_: int) -> None:
    raise OSError(22, "Invalid argument")


@pytest.mark.parametrize("pages", [None, PAGES])
@pytest.mark.parametrize("advise", [os.posix_fadvise, refuses, None])
def test_batches_are_the_same_bits_with_it_without_it_and_where_the_system_refuses(
    beton: Path, monkeypatch: pytest.MonkeyPatch, pages: Pages | None, advise: Any
) -> None:
    whole = load(beton, pages)
    monkeypatch.setattr(ffcv_loader, "outgrows_memory", lambda path: True)
    real, used = read_ahead.reading_ahead, []

    def replaced(path: Path, images: Any, pages_: Any = None) -> Any:
        used.append(pages_ is not None)
        return real(path, images, pages_, advise)

    monkeypatch.setattr(ffcv_loader, "reading_ahead", replaced)
    for one, other in zip(load(beton, pages), whole, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.indices, other.indices)
    assert used == [pages is not None]


@pytest.mark.parametrize("pages", [None, PAGES])
def test_the_loader_asks_for_its_images_in_their_order_and_for_each_before_it_is_read(
    beton: Path, monkeypatch: pytest.MonkeyPatch, pages: Pages | None
) -> None:
    monkeypatch.setattr(ffcv_loader, "outgrows_memory", lambda path: True)
    asked, cropped, real = Asked(), [], read_ahead.reading_ahead
    monkeypatch.setattr(
        ffcv_loader, "reading_ahead", lambda path, images, _=None: real(path, images, None, asked)
    )

    def crop_planes(pixels: Any, starts: Any, *rest: Any) -> None:
        assert {int(at) for at in starts} <= {at for at, _ in asked.parts}
        cropped.extend(int(at) for at in starts)
        ops.crop_planes(pixels, starts, *rest)

    monkeypatch.setattr(decoders, "crop_planes", crop_planes)
    seen = load(beton, pages)
    assert [at for at, _ in asked.parts] == cropped
    places = table_of(beton)["ptr"]
    assert cropped == [int(places[image]) for batch in seen for image in batch.indices.tolist()]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads what Linux says of a mapping")
def test_nothing_around_an_image_is_read(beton: Path) -> None:
    mapped = np.memmap(beton, dtype=np.uint8, mode="r")
    assert "rr" not in flags_of(beton)  # Linux's word for MADV_RANDOM
    nothing = read_ahead.Plan(np.zeros((0, 2), dtype=np.int64), 1, 1)
    with reading_ahead(beton, nothing) as before:
        assert before is not None
        before(0, mapped)
    assert "rr" in flags_of(beton)


def flags_of(path: Path) -> list[str]:
    """The flags of the last mapping of a file in this process."""
    _, _, said = Path("/proc/self/smaps").read_text().rpartition(str(path))
    return next(line for line in said.splitlines() if line.startswith("VmFlags:")).split()


def load(beton: Path, pages: Pages | None) -> list[Batch]:
    crop = CropRule(size=9, position="random", mirror=True)
    settings = LoaderSettings(batch_size=BATCH, crop=crop, seed=SEED, shuffle=True, pages=pages)
    loader = FfcvLoader(beton, settings, images=N, reason="asked for")
    with loader.epoch(0) as batches:
        return list(batches)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
