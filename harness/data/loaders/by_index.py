"""Stored images by their index in the split, for pictures of them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from harness.data.base import LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.names import Split
from harness.data.progress import Progress, silent
from harness.placement import LoaderName

BATCH = 250  # images


def read_images(
    prepared: Prepared,
    split: Split,
    indices: Collection[int],
    *,
    loader: LoaderName = "auto",
    workers: int = 1,
    progress: Progress = silent,
) -> dict[int, tuple[NDArray[np.uint8], int]]:
    """Each image of `indices`, uint8 (R, R, 3), and its label, by index.

    The loader goes through the split as in an evaluation, up to the last of them; so an index here is
    the index of RunRecord.correct.
    """
    wanted, done = np.unique(np.fromiter(indices, dtype=np.int64)), 0
    found = dict[int, tuple[NDArray[np.uint8], int]]()
    opened = open_loader(prepared, split, LoaderSettings(batch_size=BATCH, workers=workers), loader)
    with opened.epoch(0) as batches:
        for batch in batches:
            if len(found) == len(wanted):
                break
            for place in np.flatnonzero(np.isin(batch.indices.numpy(), wanted)).tolist():
                image = batch.images[place].permute(1, 2, 0).numpy().copy()
                found[int(batch.indices[place])] = (image, int(batch.labels[place]))
            done += len(batch.labels)
            progress(f"reading {split} images", done, opened.images)
    return found
