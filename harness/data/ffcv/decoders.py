"""Our FFCV decoders: read and crop the images of a batch into new tensors, with draws by
counter_rng.py.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.augment.crops import draw_crops
from harness.data.base import CropRule, Crops
from harness.data.ffcv.library import IMAGE_MODES, Operation, imdecode
from harness.data.ffcv.ops import crop_planes
from harness.data.ffcv.read_ahead import Before

Ints = NDArray[np.int64]
Code = Callable[..., Any]
Cropped = tuple[torch.Tensor, Crops]


class Decoder(Operation):  # type: ignore[misc]
    """An FFCV decoder that allocates its output, instead of using FFCV's ring buffer."""

    def declare_state_and_memory(self, state: Any) -> tuple[Any, None]:
        return replace(state, shape=()), None


class Columns(Decoder):
    """Numbers that are in the file's table of samples: (N,), int64 or float64."""

    def generate_code(self) -> Code:
        def decode(indices: Ints, _memory: None, column: NDArray[Any], _storage: Any) -> torch.Tensor:
            return torch.from_numpy(column[indices])

        return decode


class Indices(Decoder):
    """Each image's place in its split: (N,), int64."""

    def generate_code(self) -> Code:
        def decode(indices: Ints, _memory: None, _column: Any, _storage: Any) -> torch.Tensor:
            return torch.from_numpy(np.array(indices, dtype=np.int64))

        return decode


class CroppedImages(Decoder):
    """Crops of the stored images, (N, 3, S, S), uint8, with where they are. A failure is returned,
    never raised.

    FFCV runs this in a thread that dies silently; the loader raises what is returned.
    """

    def __init__(self, path: Path, rule: CropRule, seed: int) -> None:
        super().__init__()
        self._path, self._rule, self._seed = path, rule, seed
        self.before: Before | None = None  # reads ahead

    def begin(
        self, epoch: int, pool: Executor, workers: int, keys: Ints | None, first_batch: int
    ) -> None:
        """Before each epoch: its number, the threads that crop, and which draw each image of the split
        uses.

        keys: None if that follows from a batch's indices. first_batch: above 0 after a stall.
        """
        self._epoch, self._pool, self._workers, self._keys = epoch, pool, workers, keys
        self._batch = first_batch

    def generate_code(self) -> Code:
        def decode(
            indices: Ints, _memory: None, table: NDArray[Any], storage: Any
        ) -> Cropped | Exception:
            try:
                return self._decode(np.asarray(indices, dtype=np.int64), table, storage)
            except Exception as error:
                return error

        return decode

    def _decode(self, indices: Ints, table: NDArray[Any], storage: Any) -> Cropped:
        if self.before is not None:
            self.before(self._batch, storage[0])
            self._batch += 1
        side = int(table["width"][0])
        size = self._rule.size or side
        # Pinned only if CUDA is initialised: otherwise pinning would make a context on an unused GPU.
        pinned = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        images = torch.empty((len(indices), 3, size, size), dtype=torch.uint8, pin_memory=pinned)
        keys = None if self._keys is None else self._keys[indices]
        crops = draw_crops(
            self._rule, side, seed=self._seed, epoch=self._epoch, indices=indices, keys=keys
        )
        pages = _Pages(self._path, *storage)
        crop = pages.crop_jpeg if table["mode"][0] == IMAGE_MODES["jpg"] else pages.crop_raw
        starts = table["data_ptr"][indices].astype(np.int64)
        parts = _parts(len(indices), self._workers)
        # One part is done in FFCV's thread, since another thread would not be faster.
        mapped = map if len(parts) == 1 else self._pool.map
        list(mapped(lambda part: crop(starts[part], side, crops[part], images.numpy()[part]), parts))
        return images, crops


class _Pages:
    """The file's bytes, with the table of where each stored image is and how long it is."""

    def __init__(
        self, path: Path, pages: NDArray[np.uint8], pointers: NDArray[np.uint64], sizes: Any
    ) -> None:
        # reading beyond the end would kill the process (SIGBUS)
        if path.exists() and path.stat().st_size < len(pages):
            raise OSError("the file was cut short while it was read")
        self._path, self._pages, self._pointers, self._sizes = path, np.asarray(pages), pointers, sizes

    def crop_raw(self, starts: Ints, side: int, crops: Crops, out: NDArray[np.uint8]) -> None:
        """The decoder of images stored raw."""
        crop_planes(self._pages, starts, side, crops.ys, crops.xs, crops.flips, out)

    def crop_jpeg(self, starts: Ints, side: int, crops: Crops, out: NDArray[np.uint8]) -> None:
        """The decoder of images stored as JPEG.

        It decodes the whole image, since partial decoding has 16-pixel blocks.
        """
        decoded = np.empty((len(starts), side, side, 3), dtype=np.uint8)
        lengths = self._sizes[np.searchsorted(self._pointers, starts.astype(np.uint64))].astype(
            np.int64
        )
        for start, length, image in zip(starts, lengths, decoded, strict=True):
            if imdecode(self._pages[start : start + length], image, side, side, side, side):
                raise ValueError(f"the JPEG image at byte {start} is broken")
        places = np.arange(len(starts)) * (side * side * 3)
        crop_planes(decoded.reshape(-1), places, side, crops.ys, crops.xs, crops.flips, out)


def _parts(n: int, workers: int) -> list[slice]:
    """0..n-1 in at most `workers` runs of almost equal length."""
    edges = np.linspace(0, n, min(workers, n) + 1).astype(int)
    return [slice(first, last) for first, last in pairwise(edges)]
