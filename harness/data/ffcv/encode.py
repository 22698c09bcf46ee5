"""Making the images of a .beton file, in this process or in several: bytes, label and box, in order.

Workers import this, so it imports neither torch nor FFCV. They end with their parent, however that ends.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import DataError, HarnessError
from harness.signals import without_ctrl_c

Box: TypeAlias = Sequence[float] | NDArray[Any] | None
Item: TypeAlias = Callable[[int], tuple[NDArray[np.uint8], int, Box]]
Encoded: TypeAlias = tuple[bytes, int, Box]
Work: TypeAlias = tuple[Item, int, int | None]
CHUNK = 16  # images a worker makes at a time; 3 MB of raw 256x256


class ItemFailed(Exception):
    """Which image failed, carried over from a worker."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason


def encoded(
    n: int, item: Item, side: int, quality: int | None, workers: int, name: Callable[[int], str]
) -> Iterator[Encoded]:
    """item(0) .. item(n - 1), encoded, in order. quality: of JPEG, None for raw. Raises DataError naming the image."""
    try:
        if workers <= 1:
            yield from _some(range(n), item, side, quality)
        else:
            yield from _by_processes(n, item, side, quality, workers)
    except ItemFailed as failed:
        raise DataError(f"{name(failed.index)} can't be stored: {failed.reason}") from failed
    except BrokenProcessPool as error:
        raise DataError(
            "a process that prepares images ended before its work was done: it was killed, as systems short of memory "
            "do (use fewer workers), or could not import this script (it then says why above)"
        ) from error


def _by_processes(n: int, item: Item, side: int, quality: int | None, workers: int) -> Iterator[Encoded]:
    chunks = iter([range(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)])
    # Fresh processes: forking one that runs torch's threads may deadlock.
    context = multiprocessing.get_context("spawn")
    work = _work_file((item, side, quality))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(os.getpid(), work))
    try:
        waiting: deque[Future[list[Encoded]]] = deque()
        for chunk in chunks:
            with without_ctrl_c():  # the pool starts its processes when they are needed
                waiting.append(pool.submit(_chunk, chunk))
            if len(waiting) > 2 * workers:  # a bound on memory
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        os.close(work)


def _work_file(work: Work) -> int:
    """The handle of a file in memory that holds `work`, for workers to read.

    What a process is started with goes through a pipe, which its parent fills before it goes on. The names of a large
    folder are more than a pipe holds, and a child that died at its start never reads them.
    """
    handle = os.memfd_create("harness-work", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(handle), "wb") as file:
        pickle.dump(work, file)
    return handle


_WORK: list[Work] = []  # in a worker: what it was started with, sent once and not with every chunk


def _start(parent: int, work: int) -> None:
    threading.Thread(target=_end_when_parent_ends, daemon=True).start()
    with Path(f"/proc/{parent}/fd/{work}").open("rb") as file:  # as FFCV does, this needs Linux
        _WORK[:] = [pickle.load(file)]


def _end_when_parent_ends() -> None:
    """A parent that is killed can't stop its workers, which would wait for work for ever. They hold nothing to save."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _chunk(indices: range) -> list[Encoded]:
    return list(_some(indices, *_WORK[0]))


def _some(indices: range, item: Item, side: int, quality: int | None) -> Iterator[Encoded]:
    for index in indices:
        try:
            image, label, box = item(index)
            pixels = _encode(image, side, quality)
        except HarnessError:
            raise
        except Exception as error:
            raise ItemFailed(index, f"{type(error).__name__}: {error}") from error
        yield pixels, label, box


def _encode(image: NDArray[np.uint8], side: int, quality: int | None) -> bytes:
    if image.shape != (side, side, 3) or image.dtype != np.uint8:
        raise ValueError(f"an array {image.dtype} {image.shape} where uint8 {(side, side, 3)} is stored")
    if quality is None:
        return image.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
