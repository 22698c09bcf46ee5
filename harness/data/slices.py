"""Which images of each global batch a rank reads (data parallelism). With one rank it is the whole
batch.

The order of an epoch and its division into global batches don't depend on the number of ranks. Each
rank reads one contiguous slice of each global batch, so that every image is read exactly once by
exactly one rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.augment.counter_rng import draw_keys
from harness.data.base import LoaderSettings

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """One rank's slice of a global batch: indices and keys (N,), and the images in the global batch.

    keys: which draw each image uses (see draw_keys). Groups of images with a common draw are those of
    the global batch, so that a slice may begin within a group. N is 0 on some ranks if the last batch
    has fewer images than ranks.
    """

    indices: Ints
    keys: Ints
    whole: int


def rank_slice(images: int, rank: int, world_size: int) -> slice:
    """The part of a batch of `images` that rank `rank` reads.

    Sizes differ by at most one; the first are the larger.
    """
    size, larger = divmod(images, world_size)
    start = rank * size + min(rank, larger)
    return slice(start, start + size + (rank < larger))


def slice_size(images: int, settings: LoaderSettings) -> int:
    """The number of images that this rank reads of a batch of `images`."""
    return len(range(*rank_slice(images, settings.rank, settings.world_size).indices(images)))


def epoch_slices(settings: LoaderSettings, images: int, epoch: int) -> Iterator[Slice]:
    """This rank's slice of each global batch of an epoch, in order."""
    order = settings.order(epoch, images)
    for start in range(0, images, settings.batch_size):
        batch = order[start : start + settings.batch_size]
        part = rank_slice(len(batch), settings.rank, settings.world_size)
        keys = draw_keys(batch, settings.crop.images_per_draw)[part]
        yield Slice(batch[part].copy(), keys, len(batch))


def keys_by_image(settings: LoaderSettings, images: int, epoch: int) -> Ints:
    """The key of each of this rank's images in this epoch, by the image's index: (images,); other
    images have 0.
    """
    keys = np.zeros(images, dtype=np.int64)
    for part in epoch_slices(settings, images, epoch):
        keys[part.indices] = part.keys
    return keys
