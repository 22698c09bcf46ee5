"""The default loader: FFCV's reader and pipeline thread, with our order, draws and crops.

This imports ffcv; `harness.setup.ffcv.status()` says whether that works. Differences to FFCV 1.0.2:
augmentations are seeded per image instead of per thread; each batch is a new tensor instead of a view
of a ring buffer; if the pipeline fails, dies or hangs, an exception is raised instead of waiting
forever; leaving an epoch early ends its thread; torch's threads and the process's stderr are not
changed (library.py).
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.base import Batch, Crops, LoaderChoice, LoaderSettings
from harness.data.ffcv.decoders import Columns, CroppedImages, Indices
from harness.data.ffcv.library import Loader as StockLoader
from harness.data.ffcv.library import PipelineSpec, TraversalOrder
from harness.data.ffcv.read_ahead import (
    Before,
    image_plan,
    outgrows_memory,
    page_plan,
    reading_ahead,
)
from harness.data.ffcv.write import BOX_FIELDS, check_beton
from harness.data.slices import epoch_slices, keys_by_image, slice_size
from harness.errors import DataError, RunFailed

POLL_S = 0.2
BATCHES_AHEAD = 3


class FfcvLoader:
    """A Loader (see harness.data.base) over one .beton file. Batches are contiguous and in pinned
    memory under CUDA.

    images: how many the file holds. reason: why this loader was chosen. settings.workers: threads that
    crop.
    boxes: whether the file holds them. timeout_s: how long to wait for a batch before starting again,
    and then before giving up. Raises DataError where the file is torn or foreign.
    """

    def __init__(
        self,
        path: Path,
        settings: LoaderSettings,
        *,
        images: int,
        reason: str,
        boxes: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        if fault := check_beton(path, images, boxes=boxes):
            raise DataError(f"{path} {fault}; prepare the data set again")
        self.choice = LoaderChoice(name="ffcv", reason=reason)
        self.images, self.batches = images, settings.batches(images)
        self._path, self._settings, self._timeout_s, self._boxes = path, settings, timeout_s, boxes
        # A rank's slice has the same size in each batch but the last one, where it may be smaller, or
        # empty.
        self._slice_size = slice_size(settings.batch_size, settings)
        self._last_size = slice_size(images - (self.batches - 1) * settings.batch_size, settings)
        self._order = _Order(settings, images)
        self._crops = CroppedImages(path, settings.crop, settings.seed)
        self._busy = False
        self._stock = StockLoader(
            str(path),
            batch_size=self._slice_size,
            num_workers=1,
            os_cache=True,
            order=self._order,
            seed=settings.seed,
            pipelines=_pipelines(self._crops, boxes),
            drop_last=False,
            batches_ahead=BATCHES_AHEAD,
        )
        # FFCV's manager and its context refer to each other, and hold the mapped file and a dict entry
        # per image
        weakref.finalize(self, vars(self._stock.memory_manager).pop, "context", None)

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        """Only one epoch can be open at a time; the previous one must be left first."""
        return self._epoch(epoch)

    @contextmanager
    def _epoch(self, epoch: int) -> Iterator[Iterator[Batch]]:
        if self._busy:
            raise RuntimeError("an epoch of this loader is still open; leave its `with` block first")
        self._busy = True
        with_images = self.batches if self._last_size else self.batches - 1
        with self._reading_ahead(epoch) as self._crops.before:
            readers = [self._reader(epoch, 0)] if with_images else []
            try:
                yield self._batches(epoch, readers, with_images)
            finally:
                for reader in readers:
                    hung = reader is not readers[-1]  # it had its time
                    timeout_s = min(POLL_S, self._timeout_s) if hung else self._timeout_s
                    ended = _end(reader.thread, timeout_s)
                    reader.pool.shutdown(wait=ended, cancel_futures=True)
                self._busy = False

    def _reading_ahead(self, epoch: int) -> AbstractContextManager[Before | None]:
        """What reads ahead in this epoch; nothing does if the file stays in memory."""
        if not outgrows_memory(self._path):
            return nullcontext()
        settings, table = self._settings, self._stock.reader.alloc_table
        images = image_plan(table, self._order.whole(epoch), self._slice_size)
        if settings.pages is None:
            return reading_ahead(self._path, images)
        pages = page_plan(table, settings.pages, settings.seed, epoch, settings.batch_size)
        return reading_ahead(self._path, images, pages)

    def _reader(self, epoch: int, done: int) -> _Reader:
        """What reads the epoch's batches after the first `done`."""
        settings = self._settings
        pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="harness-crops")
        common_draws = settings.world_size > 1 and settings.crop.images_per_draw > 1
        self._crops.begin(
            epoch,
            pool,
            settings.workers,
            keys_by_image(settings, self.images, epoch) if common_draws else None,
            done,
        )
        self._order.first = done * self._slice_size
        self._stock.next_epoch = epoch
        return _Reader(iter(self._stock), pool)

    def _batches(self, epoch: int, readers: list[_Reader], with_images: int) -> Iterator[Batch]:
        """From the last of `readers`; one that stalls is followed by a new one, once without a batch
        between.

        with_images: the number of batches of which this rank has images.
        """
        done, stalled_at = 0, -1
        while done < with_images:
            try:
                cropped, labels, *boxes, indices = self._next(readers[-1].thread)
            except _StalledError:
                if stalled_at == done:
                    raise RunFailed(
                        f"no batch came from {self._path} for {self._timeout_s:g} s, twice; is its "
                        "disk still there?"
                    ) from None
                stalled_at = done
                readers[-1].thread.close()  # it may hang for ever; if it goes on, it ends
                readers.append(self._reader(epoch, done))
                continue
            if isinstance(cropped, Exception):
                raise RunFailed(f"reading {self._path} failed: {cropped}") from cropped
            images, crops = cropped
            done += 1
            corners = torch.stack(boxes, dim=1).float() if boxes else None
            yield Batch(images, labels, indices, corners, crops, self._whole(done))
        if done < self.batches:
            yield self._empty_batch()

    def _whole(self, done: int) -> int:
        """The images in the global batch number `done`, counted from 1."""
        size = self._settings.batch_size
        return min(size, self.images - (done - 1) * size)

    def _empty_batch(self) -> Batch:
        """This rank's slice of a last batch that has fewer images than there are ranks."""
        none = torch.empty(0, dtype=torch.int64)
        side = self._settings.crop.size or 0
        images = torch.empty((0, 3, side, side), dtype=torch.uint8)
        corners = torch.empty((0, 4)) if self._boxes else None
        nowhere = np.empty(0, dtype=np.int64)
        crops = Crops(ys=nowhere, xs=nowhere, flips=np.empty(0, dtype=np.bool_), keys=nowhere)
        return Batch(images, none, none, corners, crops, self._whole(self.batches))

    def _next(self, thread: Any) -> Sequence[Any]:
        """What the pipeline made of the next batch.

        Raises RunFailed where it died, _StalledError where it is late.
        """
        poll_s, polls = min(POLL_S, self._timeout_s), 0
        while True:
            alive = thread.is_alive()  # before looking: what it left behind is still taken
            try:
                made = thread.output_queue.get(timeout=poll_s if alive else 0)
            except Empty:
                if not alive:
                    raise RunFailed(f"the thread that reads {self._path} died") from None
                polls += 1  # and not the time: while this process is stopped, the thread is, too
                if polls * poll_s >= self._timeout_s:
                    raise _StalledError from None
                continue
            if made is None:
                raise RunFailed(f"the thread that reads {self._path} ended before the epoch did")
            fields: Sequence[Any] = made[1]
            return fields


class _StalledError(Exception):
    """No batch came in time."""


@dataclass(frozen=True)
class _Reader:
    """FFCV's thread for one epoch, and the threads that crop for it."""

    thread: Any
    pool: ThreadPoolExecutor


class _Order(TraversalOrder):  # type: ignore[misc]
    """FFCV's traversal, as a function of (seed, epoch) shared with every other loader, or by index.

    first: how many of the rank's images to leave out at the start, after a stall.
    """

    def __init__(self, settings: LoaderSettings, images: int) -> None:
        self._settings, self._images, self.first = settings, images, 0

    def __call__(self, _loader: Any) -> _Order:
        """FFCV calls an order with its loader and takes what comes back."""
        return self

    def sample_order(self, epoch: int) -> NDArray[np.int64]:
        return self.whole(epoch)[self.first :]

    def whole(self, epoch: int) -> NDArray[np.int64]:
        """All images of this rank."""
        parts = epoch_slices(self._settings, self._images, epoch)
        return np.concatenate([part.indices for part in parts])


def _pipelines(crops: CroppedImages, boxes: bool) -> dict[str, PipelineSpec]:
    """The fields in the order in which batches carry them; numbers are in the file's table and need
    no decoding.
    """
    numbers = ["label", *(BOX_FIELDS if boxes else ())]
    specs = {"image": PipelineSpec("image", decoder=crops)}
    specs |= {name: PipelineSpec(name, decoder=Columns()) for name in numbers}
    return specs | {"index": PipelineSpec("label", decoder=Indices())}


def _end(thread: Any, timeout_s: float) -> bool:
    """End an epoch's thread wherever it is; whether it ended.

    FFCV's own close() leaves it blocked on a full queue.
    """
    thread.iter_ixes = iter(())
    thread.close()
    deadline = time.monotonic() + timeout_s
    while thread.is_alive() and time.monotonic() < deadline:
        try:
            thread.output_queue.get(timeout=0.01)
        except Empty:
            continue
    return not thread.is_alive()
