"""Synthetic images, coloured discs on noise, made from a seed. For tests and for timing without a data
set.

The class is the disc's hue; position, size and noise differ between images. All arithmetic is in
integers, so the bytes are the same on every machine. A small network learns the classes within a
hundred steps.
"""

from __future__ import annotations

import colorsys
import contextlib
import hashlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.augment.crops import crop_image, draw_crops
from harness.data.base import Batch, LoaderChoice, LoaderSettings, Prepared
from harness.data.names import Split
from harness.data.prepare.manifest import Manifest, Origin, StoreSettings, versions
from harness.data.prepare.statistics import Moments
from harness.data.progress import Progress, silent
from harness.data.slices import Slice, epoch_slices
from harness.errors import UsageError
from harness.spec import DataSpec

CLASSES, TRAIN_IMAGES, VAL_IMAGES = 10, 2000, 500
SEED = 2012
CHOICE = LoaderChoice(name="synthetic", reason="made in memory from a seed; there is no file to load")


class SyntheticImages:
    """Image i of one split: class i modulo the number of classes.

    Any number of them, made when asked for.
    """

    def __init__(self, split: Split, side: int, classes: int = CLASSES) -> None:
        self.side, self.classes = side, classes
        self._key = SEED * 2 + (split == "val")

    def label(self, index: int) -> int:
        return index % self.classes

    def item(self, index: int) -> NDArray[np.uint8]:
        """uint8, (R, R, 3)."""
        random = np.random.Generator(np.random.Philox(key=[self._key, index]))
        noise = np.frombuffer(random.bytes(self.side * self.side * 3), dtype=np.uint8).reshape(
            self.side, self.side, 3
        )
        image = np.right_shift(noise, 1, dtype=np.uint8)
        y, x = random.integers(self.side // 3, self.side - self.side // 3, size=2)
        radius = random.integers(self.side // 5 + 1, self.side // 3 + 2)
        rows, columns = np.ogrid[: self.side, : self.side]
        image[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] += self._colour(self.label(index))
        return image

    def _colour(self, label: int) -> NDArray[np.uint8]:
        channels = colorsys.hsv_to_rgb(label / self.classes, 1.0, 1.0)
        return np.array([round(128 * channel) for channel in channels], dtype=np.uint8)


class SyntheticLoader:
    """A Loader of such images; see harness.data.base.Loader."""

    def __init__(self, made: SyntheticImages, count: int, settings: LoaderSettings) -> None:
        self.choice = CHOICE
        self.images = count
        self.batches = settings.batches(count)
        self._made, self._settings = made, settings

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        return contextlib.closing(self._run(epoch))

    def _run(self, epoch: int) -> Generator[Batch, None, None]:
        for part in epoch_slices(self._settings, self.images, epoch):
            yield self._batch(epoch, part)

    def _batch(self, epoch: int, part: Slice) -> Batch:
        made, rule, indices = self._made, self._settings.crop, part.indices
        side = rule.size or made.side
        crops = draw_crops(
            rule, made.side, seed=self._settings.seed, epoch=epoch, indices=indices, keys=part.keys
        )
        images = np.empty((len(indices), 3, side, side), dtype=np.uint8)
        for place, (i, y, x, flip) in enumerate(
            zip(indices.tolist(), crops.ys, crops.xs, crops.flips, strict=True)
        ):
            images[place] = crop_image(made.item(i), y, x, flip, rule.size)
        labels = np.array([made.label(i) for i in indices.tolist()], dtype=np.int64)
        return Batch(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            indices=torch.from_numpy(indices),
            crops=crops,
            whole=part.whole,
        )


def prepare_synthetic(settings: StoreSettings, progress: Progress = silent) -> Prepared:
    """The data set as a value; nothing is written. settings.limit: the numbers of images, up or
    down.
    """
    side, (train, val) = settings.store_size, settings.limit or (TRAIN_IMAGES, VAL_IMAGES)
    if min(train, val, side) < 1:
        raise UsageError(
            f"synthetic: {train} training and {val} validation images of {side} pixels; use 1 or more"
        )
    if settings.store_format != "raw":
        raise UsageError(
            "synthetic images are made in memory and stored in no format; leave --format out"
        )
    made, moments = SyntheticImages("train", side), Moments(side)
    for index in range(train):
        moments.add(made.item(index))
        progress("making synthetic images", index + 1, train)
    spec = DataSpec(
        name=CHOICE.name,
        listing=hashlib.sha256(f"synthetic 1 {SEED} {CLASSES} {train} {val}".encode()).hexdigest(),
        classes=CLASSES,
        train_images=train,
        val_images=val,
        store_size=side,
    )
    classes = tuple(f"hue {360 * k // CLASSES}" for k in range(CLASSES))
    manifest = Manifest(
        source=Origin(name=CHOICE.name, contents=f"coloured discs on noise, seed {SEED}"),
        spec=spec,
        settings=settings,
        classes=classes,
        counts={
            "train": {name: len(range(k, train, CLASSES)) for k, name in enumerate(classes)},
            "val": {name: len(range(k, val, CLASSES)) for k, name in enumerate(classes)},
        },
        skipped={"train": (), "val": ()},
        ignored={"train": 0, "val": 0},
        roots={},
        loaders=(CHOICE.name,),
        files={},
        versions=versions(),
    )
    return Prepared(folder=None, manifest=manifest, **vars(moments.statistics()))


def open_synthetic(prepared: Prepared, split: Split, settings: LoaderSettings) -> SyntheticLoader:
    """The loader of one split of `prepare_synthetic`'s data set."""
    spec = prepared.spec
    return SyntheticLoader(
        SyntheticImages(split, spec.store_size, spec.classes), spec.images(split), settings
    )
