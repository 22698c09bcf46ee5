"""The loader that needs nothing but torch and PIL: image files, decoded anew each epoch by worker processes.

It takes the same order, crops and mirrors as the FFCV loader, so raw batches of the two are equal bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from harness.data.augment.counter_rng import epoch_order
from harness.data.augment.crops import Cuts, cut, draw_cuts
from harness.data.base import Batch, CropRule, LoaderChoice
from harness.data.prepare.manifest import Listing
from harness.data.resize import DECODE_ERRORS, open_rgb, to_square
from harness.errors import DataError, RunFailed


@dataclass(frozen=True)
class Plan:
    """One batch to come: which images, and where each is cut."""

    indices: NDArray[np.int64]
    cuts: Cuts


class Files(Dataset[Batch | str]):
    """A plan in, its batch out; a file that fails comes back as a sentence, which any process can carry."""

    def __init__(self, root: Path, listing: Listing, side: int, crop: int | None) -> None:
        self._root, self._listing, self._side, self._crop = root, listing, side, crop

    def __getitem__(self, plan: Plan) -> Batch | str:
        images = []
        for index, y, x, flip in zip(plan.indices, plan.cuts.ys, plan.cuts.xs, plan.cuts.flips, strict=True):
            path = self._root / self._listing.names[index]
            try:
                square = to_square(open_rgb(path), self._side)
            except DECODE_ERRORS as error:
                return f"{path} was readable when the data was prepared and is not now ({error}); prepare it again"
            images.append(cut(square, y, x, flip, self._crop))
        boxes = self._listing.boxes
        return Batch(
            images=torch.from_numpy(np.stack(images)),
            labels=torch.from_numpy(self._listing.labels[plan.indices]),
            indices=torch.from_numpy(plan.indices),
            boxes=None if boxes is None else torch.from_numpy(boxes[plan.indices]),
        )


class FolderLoader:
    """A Loader (see harness.data.base) over the files of one listing below `root`.

    side: of the stored square that each picture is brought to. workers: processes; 0 loads in this one.
    timeout_s: how long to wait for a batch before giving up.
    """

    def __init__(
        self,
        root: Path,
        listing: Listing,
        *,
        side: int,
        view: CropRule,
        batch_size: int,
        seed: int,
        shuffle: bool,
        workers: int,
        reason: str,
        timeout_s: float = 30.0,
    ) -> None:
        self.choice = LoaderChoice(name="folder", reason=reason)
        self.images = len(listing.names)
        self.batches = -(-self.images // batch_size)
        self._files = Files(root, listing, side, view.crop)
        self._side, self._view, self._batch_size, self._seed, self._shuffle = side, view, batch_size, seed, shuffle
        self._workers, self._timeout_s = workers, timeout_s if workers else 0.0

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        return contextlib.closing(self._run(epoch))

    def _run(self, epoch: int) -> Generator[Batch, None, None]:
        batches = iter(
            DataLoader(
                self._files,
                batch_size=None,  # a plan is a batch already
                sampler=self._plans(epoch),
                num_workers=self._workers,
                timeout=self._timeout_s,
                collate_fn=_as_it_is,  # type: ignore[arg-type]  # a list only where torch makes the batches
                generator=torch.Generator(),  # its own: the global one belongs to dropout
            )
        )
        while True:
            try:
                batch = next(batches, None)
            except RuntimeError as error:  # torch's word for a worker that died or is late
                raise RunFailed(f"the folder loader stopped: {str(error).splitlines()[0]}") from error
            if batch is None:
                return
            if isinstance(batch, str):
                raise DataError(batch)
            yield batch

    def _plans(self, epoch: int) -> list[Plan]:
        order = epoch_order(self._seed, epoch, self.images) if self._shuffle else np.arange(self.images)
        plans = []
        for start in range(0, self.images, self._batch_size):
            indices = order[start : start + self._batch_size].copy()
            cuts = draw_cuts(self._view, self._side, seed=self._seed, epoch=epoch, indices=indices)
            plans.append(Plan(indices=indices, cuts=cuts))
        return plans


def _as_it_is(batch: Batch | str) -> Batch | str:
    return batch
