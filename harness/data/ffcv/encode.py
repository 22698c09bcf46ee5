"""Making the images of a .beton file, in this process or in several: bytes, label and box, in order.

Workers import this, so it imports neither torch nor FFCV. They end with their parent, however that
ends.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.errors import DataError, HarnessError
from harness.signals import without_ctrl_c

Box: TypeAlias = Sequence[float] | NDArray[Any] | None
Item: TypeAlias = Callable[[int], tuple[NDArray[np.uint8], int, Box]]
Encoded: TypeAlias = tuple[bytes, int, Box]
Made = TypeVar("Made")
CHUNK = 16  # images a worker makes at a time; 3 MB of raw 256x256


class ItemFailed(Exception):
    """Which image failed, carried over from a worker."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason


def encoded(
    n: int, item: Item, side: int, quality: int | None, workers: int, name: Callable[[int], str]
) -> Iterator[Encoded]:
    """item(0) .. item(n - 1), encoded, in order. quality: of JPEG, None for raw.

    Raises DataError naming the image.
    """
    try:
        for some in in_order(chunks(0, n, CHUNK), partial(_some, item, side, quality), workers):
            yield from some
    except ItemFailed as failed:
        raise DataError(f"{name(failed.index)} can't be stored: {failed.reason}") from failed


def chunks(first: int, stop: int, size: int) -> list[range]:
    """first .. stop - 1 in ranges of `size`; the last may be shorter."""
    return [range(start, min(start + size, stop)) for start in range(first, stop, size)]


def in_order(ranges: Iterable[range], make: Callable[[range], Made], workers: int) -> Iterator[Made]:
    """make(range) of each, in order, by this process or by several. make: picklable where workers > 1.

    Raises DataError where a worker dies.
    """
    if workers <= 1:
        yield from map(make, ranges)
        return
    try:
        yield from _by_processes(ranges, make, workers)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that prepares images ended before its work was done: it was killed, as systems "
            "short of memory do (use fewer workers), or could not import this script (it then says why "
            "above)"
        ) from error


def _by_processes(
    ranges: Iterable[range], make: Callable[[range], Made], workers: int
) -> Iterator[Made]:
    # Fresh processes: forking one that runs torch's threads may deadlock.
    context = multiprocessing.get_context("spawn")
    work = _work_file(make)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(os.getpid(), work)
    )
    try:
        waiting: deque[Future[Made]] = deque()
        for chunk in ranges:
            with without_ctrl_c():  # the pool starts its processes when they are needed
                waiting.append(pool.submit(_chunk, chunk))
            if len(waiting) > 2 * workers:  # a bound on memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        os.close(work)


def _work_file(work: Callable[[range], Any]) -> int:
    """The handle of a file in memory that holds `work`, for workers to read.

    What a process is started with goes through a pipe, which its parent fills before it goes on. The
    names of a large folder are more than a pipe holds, and a child that died at its start never reads
    them.
    """
    handle = os.memfd_create("harness-work", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(handle), "wb") as file:
        pickle.dump(work, file)
    return handle


# in a worker: what it was started with, sent once and not with every chunk
_WORK: list[Callable[[range], Any]] = []


def _start(parent: int, work: int) -> None:
    threading.Thread(target=_end_when_parent_ends, daemon=True).start()
    with Path(f"/proc/{parent}/fd/{work}").open("rb") as file:  # as FFCV does, this needs Linux
        _WORK[:] = [pickle.load(file)]


def _end_when_parent_ends() -> None:
    """A parent that is killed can't stop its workers, which would wait for work for ever.

    They hold nothing to save.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _chunk(indices: range) -> Any:
    return _WORK[0](indices)


def _some(item: Item, side: int, quality: int | None, indices: range) -> list[Encoded]:
    made = list[Encoded]()
    for index in indices:
        try:
            image, label, box = item(index)
            pixels = encode(image, side, quality)
        except HarnessError:
            raise
        except Exception as error:
            raise ItemFailed(index, f"{type(error).__name__}: {error}") from error
        made.append((pixels, label, box))
    return made


def encode(image: NDArray[np.uint8], side: int, quality: int | None) -> bytes:
    """The bytes of one image in a .beton file. quality: of JPEG, None for raw.

    Raises ValueError for another size.
    """
    if image.shape != (side, side, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"an array {image.dtype} {image.shape} where uint8 {(side, side, 3)} is stored"
        )
    if quality is None:
        return image.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
