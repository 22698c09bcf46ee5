"""Images that need no files: coloured discs on noise, made from a seed. For tests and for timing without a data set.

The class is the disc's hue; its place, size and the noise are the image's own. All integer arithmetic, so the bytes
are the same on every machine. A small network learns it within a hundred steps.
"""

from __future__ import annotations

import colorsys
import contextlib
import hashlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.augment.counter_rng import epoch_order
from harness.data.augment.crops import cut, draw_cuts
from harness.data.base import Batch, CropRule, LoaderChoice, Prepared, Progress, Split, silent
from harness.data.prepare.statistics import Moments
from harness.errors import UsageError
from harness.spec import DataSpec

CLASSES, TRAIN_IMAGES, VAL_IMAGES = 10, 2000, 500
SEED = 2012
CHOICE = LoaderChoice(name="synthetic", reason="made in memory from a seed; there is no file to load")


class SyntheticSquares:
    """Square i of one split: class i modulo the number of classes. Any number of them, made when asked for."""

    def __init__(self, split: Split, side: int, classes: int = CLASSES) -> None:
        self.side, self.classes = side, classes
        self._key = SEED * 2 + (split == "val")

    def label(self, index: int) -> int:
        return index % self.classes

    def item(self, index: int) -> NDArray[np.uint8]:
        """uint8, (R, R, 3)."""
        random = np.random.Generator(np.random.Philox(key=[self._key, index]))
        noise = np.frombuffer(random.bytes(self.side * self.side * 3), dtype=np.uint8).reshape(self.side, self.side, 3)
        square = np.right_shift(noise, 1, dtype=np.uint8)
        y, x = random.integers(self.side // 3, self.side - self.side // 3, size=2)
        radius = random.integers(self.side // 5 + 1, self.side // 3 + 2)
        rows, columns = np.ogrid[: self.side, : self.side]
        square[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] += self._colour(self.label(index))
        return square

    def _colour(self, label: int) -> NDArray[np.uint8]:
        shares = colorsys.hsv_to_rgb(label / self.classes, 1.0, 1.0)
        return np.array([round(128 * share) for share in shares], dtype=np.uint8)


class SyntheticLoader:
    """A Loader of such images; see harness.data.base.Loader."""

    def __init__(
        self, squares: SyntheticSquares, *, images: int, view: CropRule, batch_size: int, seed: int, shuffle: bool
    ) -> None:
        self.choice = CHOICE
        self.images = images
        self.batches = -(-images // batch_size)
        self._squares, self._view, self._batch_size = squares, view, batch_size
        self._seed, self._shuffle = seed, shuffle

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        return contextlib.closing(self._run(epoch))

    def _run(self, epoch: int) -> Generator[Batch, None, None]:
        order = epoch_order(self._seed, epoch, self.images) if self._shuffle else np.arange(self.images)
        for start in range(0, self.images, self._batch_size):
            yield self._batch(epoch, order[start : start + self._batch_size])

    def _batch(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        squares, crop = self._squares, self._view.crop
        cuts = draw_cuts(self._view, squares.side, seed=self._seed, epoch=epoch, indices=indices)
        places = zip(indices.tolist(), cuts.ys, cuts.xs, cuts.flips, strict=True)
        images = np.stack([cut(squares.item(i), y, x, flip, crop) for i, y, x, flip in places])
        labels = np.array([squares.label(i) for i in indices.tolist()], dtype=np.int64)
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(indices.copy()))


def prepare_synthetic(
    store_size: int, folder: Path, limit: tuple[int, int] | None = None, progress: Progress = silent
) -> Prepared:
    """The data set as a value; nothing is written to `folder`. `limit` sets the numbers of images, up or down."""
    train, val = limit or (TRAIN_IMAGES, VAL_IMAGES)
    if min(train, val, store_size) < 1:
        raise UsageError(
            f"synthetic: {train} training and {val} validation images of {store_size} pixels; use 1 or more"
        )
    squares, moments = SyntheticSquares("train", store_size), Moments(store_size)
    for index in range(train):
        moments.add(squares.item(index))
        progress("making synthetic images", index + 1, train)
    listing = hashlib.sha256(f"synthetic 1 {SEED} {CLASSES} {train} {val}".encode()).hexdigest()
    spec = DataSpec(
        name="synthetic", listing=listing, classes=CLASSES, train_images=train, val_images=val, store_size=store_size
    )
    classes = tuple(f"hue {360 * k // CLASSES}" for k in range(CLASSES))
    manifest = {"source": {"name": "synthetic", "seed": SEED}, "listing": listing}
    return Prepared(spec=spec, classes=classes, folder=folder, manifest=manifest, **vars(moments.statistics()))


def open_synthetic(
    prepared: Prepared, split: Split, *, batch_size: int, view: CropRule, seed: int, shuffle: bool
) -> SyntheticLoader:
    """The loader of one split of `prepare_synthetic`'s data set."""
    spec = prepared.spec
    images = spec.train_images if split == "train" else spec.val_images
    squares = SyntheticSquares(split, spec.store_size, spec.classes)
    return SyntheticLoader(squares, images=images, view=view, batch_size=batch_size, seed=seed, shuffle=shuffle)
