"""Asks the system to read parts of a .beton file before they are needed.

FFCV maps the file, so that what is not in memory is read when it is first used: one read at a time,
and with as many bytes around it as the system believes to be needed soon. The order of an epoch is
known in advance. With it the disk gets many requests at a time, of nothing but the images to come.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.data.page_order import Pages, page_sequence
from harness.limits import MIB, memory_limit_mib

ONCE = 1 << 17  # bytes; Linux reads no more for one request than the device takes at once
BATCHES = 2  # whose images are read ahead: 50 MB of raw 256x256 in batches of 128

Ints = NDArray[np.int64]
# called with the number of a batch, from 0, and the mapped file, before the batch is made
Before: TypeAlias = Callable[[int, NDArray[np.uint8]], None]
# os.posix_fadvise: (handle, offset, length, advice)
Advise: TypeAlias = Callable[[int, int, int, int], None]
ADVISE: Advise | None = getattr(os, "posix_fadvise", None)  # macOS has none


@dataclass(frozen=True)
class Plan:
    """Parts of a file in the order in which they are needed.

    spans: first byte and end of each, int64, (N, 2). per_batch: how many of them a batch uses up.
    ahead: how many to ask for beyond those of the batch.
    """

    spans: Ints
    per_batch: float
    ahead: int

    def new(self, batch: int) -> list[list[int]]:
        """The parts to ask for before this batch, beyond those of the batches before."""
        before = self._needed(batch - 1) if batch else 0
        spans: list[list[int]] = self.spans[before : self._needed(batch)].tolist()
        return spans

    def _needed(self, batch: int) -> int:
        return int((batch + 1) * self.per_batch) + self.ahead


def image_plan(table: NDArray[Any], order: Ints, batch_size: int) -> Plan:
    """The images of an epoch. table: FFCV's, with the place of each image. order, batch_size: of this
    rank.
    """
    places = table[order]
    return Plan(_spans(places, places), batch_size, BATCHES * batch_size)


def page_plan(table: NDArray[Any], pages: Pages, seed: int, epoch: int, batch_size: int) -> Plan:
    """The pages of an epoch, one group ahead. batch_size: of all ranks, since each needs all pages."""
    firsts = np.arange(0, len(table), pages.images)
    lasts = np.minimum(firsts + pages.images, len(table)) - 1
    sequence = page_sequence(seed, epoch, len(table), pages)
    spans = _spans(table[firsts], table[lasts])[sequence]
    return Plan(spans, batch_size / pages.images, pages.together)


def outgrows_memory(path: Path) -> bool:
    """Whether to read ahead, which takes 3 us an image: not if the file stays in memory once it was
    read. Half of the memory is left to all else.
    """
    return path.stat().st_size > memory_limit_mib() * MIB // 2


@contextlib.contextmanager
def reading_ahead(
    path: Path, images: Plan, pages: Plan | None = None, advise: Advise | None = ADVISE
) -> Iterator[Before | None]:
    """For one epoch, what to call before each batch; None if the system can't read ahead.

    It asks for the images of this batch and of the next ones, and lets a thread ask for whole pages.
    """
    if advise is None:
        yield None
        return
    thread = ThreadPoolExecutor(1, "harness-read-ahead")
    with path.open("rb") as file:
        ask = partial(_ask_for, advise, file.fileno())

        def before(batch: int, mapped: NDArray[np.uint8]) -> None:
            if batch == 0:
                _read_nothing_around(mapped)
            for first, stop in images.new(batch):
                ask(first, stop)
            for first, stop in pages.new(batch) if pages else []:
                thread.submit(ask, first, stop)

        try:
            yield before
        finally:
            thread.shutdown(wait=False, cancel_futures=True)  # it may hang, as the disk may


def _spans(firsts: NDArray[Any], lasts: NDArray[Any]) -> Ints:
    return np.stack([firsts["ptr"], lasts["ptr"] + lasts["size"]], axis=1).astype(np.int64)


def _read_nothing_around(mapped: NDArray[np.uint8]) -> None:
    """Otherwise an image that is not there yet would bring up to some MiB of others with it."""
    base: Any = mapped.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        base.madvise(mmap.MADV_RANDOM)


def _ask_for(advise: Advise, handle: int, first: int, stop: int) -> None:
    with contextlib.suppress(OSError):  # it is advice: a file system may refuse it
        for at in range(first, stop, ONCE):
            advise(handle, at, min(ONCE, stop - at), os.POSIX_FADV_WILLNEED)
