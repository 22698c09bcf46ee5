"""The default loader: FFCV's reader and pipeline thread, with our order, draws and crops.

This imports ffcv; `harness.setup.ffcv.status()` says whether that works. Differences to FFCV 1.0.2: augmentations are
seeded per image instead of per thread; each batch is a new tensor instead of a view of a ring buffer; if the pipeline
fails, dies or hangs, an exception is raised instead of waiting forever; leaving an epoch early ends its thread; torch's
threads and the process's stderr are not changed (library.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.augment.counter_rng import epoch_order
from harness.data.base import Batch, LoaderChoice, LoaderSettings
from harness.data.ffcv.decoders import Columns, CroppedImages, Indices
from harness.data.ffcv.library import Loader as StockLoader
from harness.data.ffcv.library import PipelineSpec, TraversalOrder
from harness.data.ffcv.write import BOX_FIELDS, check_beton
from harness.errors import DataError, RunFailed
from harness.setup.ffcv import status

POLL_S = 0.2
BATCHES_AHEAD = 3


class FfcvLoader:
    """A Loader (see harness.data.base) over one .beton file. Batches are contiguous and in pinned memory under CUDA.

    images: how many the file holds. settings.workers: threads that crop. boxes: whether the file holds them.
    timeout_s: how long to wait for a batch before giving up. Raises DataError where the file is torn or foreign.
    """

    def __init__(
        self,
        path: Path,
        settings: LoaderSettings,
        *,
        images: int,
        boxes: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        if fault := check_beton(path, images, boxes=boxes):
            raise DataError(f"{path} {fault}; prepare the data set again")
        self.choice = LoaderChoice(name="ffcv", reason=status()[1])
        self.images, self.batches = images, -(-images // settings.batch_size)
        self._path, self._workers, self._timeout_s = path, settings.workers, timeout_s
        self._crops = CroppedImages(path, settings.crop, settings.seed)
        self._busy = False
        self._stock = StockLoader(
            str(path),
            batch_size=settings.batch_size,
            num_workers=1,
            os_cache=True,
            order=_Order(settings.seed, settings.shuffle, images),
            seed=settings.seed,
            pipelines=_pipelines(self._crops, boxes),
            drop_last=False,
            batches_ahead=BATCHES_AHEAD,
        )

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        """Only one epoch can be open at a time; the previous one must be left first."""
        return self._epoch(epoch)

    @contextmanager
    def _epoch(self, epoch: int) -> Iterator[Iterator[Batch]]:
        if self._busy:
            raise RuntimeError("an epoch of this loader is still open; leave its `with` block first")
        self._busy = True
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="harness-crops")
        self._crops.begin(epoch, pool, self._workers)
        self._stock.next_epoch = epoch
        thread = iter(self._stock)
        try:
            yield self._batches(thread)
        finally:
            ended = _end(thread, self._timeout_s)
            pool.shutdown(wait=ended, cancel_futures=True)
            self._busy = False

    def _batches(self, thread: Any) -> Iterator[Batch]:
        for _ in range(self.batches):
            cropped, labels, *boxes, indices = self._next(thread)
            if isinstance(cropped, Exception):
                raise RunFailed(f"reading {self._path} failed: {cropped}") from cropped
            images, crops = cropped
            yield Batch(images, labels, indices, torch.stack(boxes, dim=1).float() if boxes else None, crops)

    def _next(self, thread: Any) -> Sequence[Any]:
        """What the pipeline made of the next batch; raises RunFailed where nothing comes any more."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            alive = thread.is_alive()  # before looking: what it left behind is still taken
            try:
                made = thread.output_queue.get(timeout=min(POLL_S, self._timeout_s) if alive else 0)
            except Empty:
                if not alive:
                    raise RunFailed(f"the thread that reads {self._path} died") from None
                if time.monotonic() > deadline:
                    raise RunFailed(
                        f"no batch came from {self._path} for {self._timeout_s:g} s; is its disk still there?"
                    ) from None
                continue
            if made is None:
                raise RunFailed(f"the thread that reads {self._path} ended before the epoch did")
            fields: Sequence[Any] = made[1]
            return fields


class _Order(TraversalOrder):  # type: ignore[misc]
    """FFCV's traversal, as a function of (seed, epoch) shared with every other loader, or by index."""

    def __init__(self, seed: int, shuffle: bool, images: int) -> None:
        self._seed, self._shuffle, self._images = seed, shuffle, images

    def __call__(self, _loader: Any) -> _Order:
        """FFCV calls an order with its loader and takes what comes back."""
        return self

    def sample_order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self._seed, epoch, self._images) if self._shuffle else np.arange(self._images)


def _pipelines(crops: CroppedImages, boxes: bool) -> dict[str, PipelineSpec]:
    """The fields in the order in which batches carry them; numbers are in the file's table and need no decoding."""
    numbers = ["label", *(BOX_FIELDS if boxes else ())]
    specs = {"image": PipelineSpec("image", decoder=crops)}
    specs |= {name: PipelineSpec(name, decoder=Columns()) for name in numbers}
    return specs | {"index": PipelineSpec("label", decoder=Indices())}


def _end(thread: Any, timeout_s: float) -> bool:
    """End an epoch's thread wherever it is; whether it ended. FFCV's own close() leaves it blocked on a full queue."""
    thread.iter_ixes = iter(())
    thread.close()
    deadline = time.monotonic() + timeout_s
    while thread.is_alive() and time.monotonic() < deadline:
        try:
            thread.output_queue.get(timeout=0.01)
        except Empty:
            continue
    return not thread.is_alive()
