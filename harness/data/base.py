"""The interface of loaders.

All loaders give the same images, order and crops, so training is the same with each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.augment.counter_rng import epoch_order
from harness.data.page_order import Pages, page_order
from harness.data.prepare.manifest import Manifest
from harness.spec import DataSpec
from variants.values import value


@value
class CropRule:
    """Which crop of the stored image a loader delivers.

    size: side of the crop in pixels, None for the whole image. position: of the crop. mirror: flip
    left-right with probability 1/2. images_per_draw: this many consecutive images of the epoch's order
    have the same draw.
    """

    size: int | None = None
    position: Literal["random", "centre"] = "centre"
    mirror: bool = False
    images_per_draw: int = 1


@dataclass(frozen=True)
class Crops:
    """The crops of a batch: top row, left column (int64), whether the image is mirrored (bool); (N,)
    each.

    keys: int64, (N,), which draw each image uses, None if that follows from the batch's indices, as in
    counter_rng.draw_keys. In a rank's slice of a batch it doesn't.
    """

    ys: NDArray[np.int64]
    xs: NDArray[np.int64]
    flips: NDArray[np.bool_]
    keys: NDArray[np.int64] | None = None

    def __getitem__(self, part: slice) -> Crops:
        """The crops of a part of the batch."""
        keys = None if self.keys is None else self.keys[part]
        return Crops(ys=self.ys[part], xs=self.xs[part], flips=self.flips[part], keys=keys)


@dataclass(frozen=True)
class Batch:
    """One batch. Its tensors are not views of a loader's buffer, so they stay valid.

    images: uint8, (N, 3, S, S), RGB 0-255. labels, indices: int64, (N,); an index is the image's place
    in its split.
    boxes: float32, (N, 4), x, y, width, height as fractions of the stored image; None without boxes.
    crops: where these crops are in the stored images, as the loader drew them; None only in tests.
    whole: images in the global batch, if this is a rank's slice of it; None if this is the whole batch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    boxes: torch.Tensor | None = None
    crops: Crops | None = None
    whole: int | None = None

    @property
    def fraction(self) -> float:
        """The part of the global batch's images that are in this slice; 1.0 for a whole batch."""
        return 1.0 if self.whole is None else len(self.labels) / self.whole


@value
class LoaderSettings:
    """How a loader goes through one split.

    batch_size: images of a global batch; the last one holds the rest. seed: order and crops follow from
    it.
    shuffle: a new order each epoch, else by index. workers: threads (FFCV) or processes (folder).
    pages: shuffle images within groups of these pages; None shuffles all images.
    rank, world_size: which slice of each global batch is read (harness.data.slices).
    """

    batch_size: int
    crop: CropRule = CropRule()
    seed: int = 0
    shuffle: bool = False
    workers: int = 1
    rank: int = 0
    world_size: int = 1
    pages: Pages | None = None

    def order(self, epoch: int, images: int) -> NDArray[np.int64]:
        """The images of a split in the order of this epoch: int64, (images,)."""
        if not self.shuffle:
            return np.arange(images)
        if self.pages is not None:
            return page_order(self.seed, epoch, images, self.pages)
        return epoch_order(self.seed, epoch, images)

    def batches(self, images: int) -> int:
        """How many batches an epoch of so many images has."""
        return -(-images // self.batch_size)


@value
class LoaderChoice:
    """Which loader runs and why, for records and report: `reason` is a sentence, such as why FFCV
    can't be used.
    """

    name: Literal["ffcv", "folder", "synthetic"]
    reason: str


class Loader(Protocol):
    """Batches of one split. `epoch(n)` gives every image exactly once, including the last partial
    batch.

    With several ranks, `images` and `batches` are of the whole split, and a batch is the rank's slice;
    it may be empty.

    Shuffled loaders order by a function of (seed, epoch) alone; unshuffled ones by index. Leaving the
    `with` block early frees threads and memory. A dead pipeline raises RunFailed. One that hangs for 30
    s is started again where it was; if it hangs once more, it raises RunFailed. Seconds in which the
    process was stopped (SIGSTOP, a suspended machine) don't count.
    """

    choice: LoaderChoice
    images: int
    batches: int

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]: ...


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its folder, its contents, and the statistics that the paper's recipe needs.

    folder: of its files; None if images are made in memory.
    mean: float32, (3, S, S), the training set's mean image (0-255). std: float32 (3,), per channel.
    eigenvalues, eigenvectors: float32, (3,) and (3, 3), of the training pixels' RGB covariance; vectors
    are columns.
    manifest: the contents of manifest.json: images, source, counts per class, settings, versions.
    """

    folder: Path | None
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    eigenvalues: NDArray[np.float32]
    eigenvectors: NDArray[np.float32]
    manifest: Manifest

    @property
    def spec(self) -> DataSpec:
        """Which images, by content."""
        return self.manifest.spec
