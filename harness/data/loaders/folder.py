"""The folder loader, which needs only torch and PIL: worker processes decode the image files in every
epoch.

It takes the same order, crops and mirrors as the FFCV loader, so raw batches of the two are equal bit
for bit.
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

from harness.data.augment.crops import crop_image, draw_crops
from harness.data.base import Batch, Crops, LoaderChoice, LoaderSettings
from harness.data.prepare.manifest import Listing
from harness.data.resize import DECODE_ERRORS, open_rgb, resize_and_centre_crop
from harness.data.slices import epoch_slices
from harness.errors import DataError, RunFailed

POLL_S = 0.5  # torch waits this long for a batch before it says so; it can be asked again


class _StalledError(Exception):
    """No batch came in time; the message says so."""


@dataclass(frozen=True)
class BatchPlan:
    """One batch to come: which images, the crop of each, and the images in the global batch."""

    indices: NDArray[np.int64]
    crops: Crops
    whole: int


class Files(Dataset[Batch | str]):
    """Makes the batch of a plan.

    An error is returned as a sentence, since some exceptions can't be pickled.
    """

    def __init__(self, root: Path, listing: Listing, side: int, size: int | None) -> None:
        self._root, self._listing, self._side, self._size = root, listing, side, size

    def __getitem__(self, plan: BatchPlan) -> Batch | str:
        crops, side = plan.crops, self._size or self._side
        images = np.empty((len(plan.indices), 3, side, side), dtype=np.uint8)
        rows = zip(plan.indices, crops.ys, crops.xs, crops.flips, strict=True)
        for place, (index, y, x, flip) in enumerate(rows):
            path = self._root / self._listing.names[index]
            try:
                stored = resize_and_centre_crop(open_rgb(path), self._side)
            except DECODE_ERRORS as error:
                return (
                    f"{path} was readable when the data was prepared and is not now ({error}); prepare "
                    "it again"
                )
            images[place] = crop_image(stored, y, x, flip, self._size)
        boxes = self._listing.boxes
        return Batch(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(self._listing.labels[plan.indices]),
            indices=torch.from_numpy(plan.indices),
            boxes=None if boxes is None else torch.from_numpy(boxes[plan.indices]),
            crops=crops,
            whole=plan.whole,
        )


class FolderLoader:
    """A Loader (see harness.data.base) over the files of one listing below `root`.

    side: of the stored image that each file is resized to. settings.workers: processes; 0 loads in this
    one.
    timeout_s: how long to wait for a batch before starting again, and then before giving up.
    """

    def __init__(
        self,
        root: Path,
        listing: Listing,
        settings: LoaderSettings,
        *,
        side: int,
        reason: str,
        timeout_s: float = 30.0,
    ) -> None:
        self.choice = LoaderChoice(name="folder", reason=reason)
        self.images = len(listing.names)
        self.batches = settings.batches(self.images)
        self._files = Files(root, listing, side, settings.crop.size)
        self._side, self._settings = side, settings
        self._timeout_s = timeout_s if settings.workers else 0.0

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        return contextlib.closing(self._run(epoch))

    def _run(self, epoch: int) -> Generator[Batch, None, None]:
        plans, done, stalled_at = self._plans(epoch), 0, -1
        while done < len(plans):
            try:
                with contextlib.closing(self._load(plans[done:])) as batches:
                    for batch in batches:
                        done += 1
                        yield batch
            except _StalledError as stall:
                if stalled_at == done:
                    raise RunFailed(
                        f"the folder loader stopped: {stall}, twice; is the disk still there?"
                    ) from None
                stalled_at = done

    def _load(self, plans: list[BatchPlan]) -> Generator[Batch, None, None]:
        """The batches of these plans, from workers of their own.

        Raises _StalledError where none comes any more.
        """
        poll_s, polls = min(POLL_S, self._timeout_s), 0
        batches = iter(
            DataLoader(
                self._files,
                batch_size=None,  # a plan is a batch already
                sampler=plans,
                num_workers=self._settings.workers,
                timeout=poll_s,
                # a list only where torch makes the batches
                collate_fn=_as_it_is,  # type: ignore[arg-type]
                generator=torch.Generator(),  # its own: the global one belongs to dropout
            )
        )
        while True:
            try:
                batch = next(batches, None)
            except RuntimeError as error:  # torch's word for a worker that died or is late
                if not str(error).startswith("DataLoader timed out"):
                    raise RunFailed(
                        f"the folder loader stopped: {str(error).splitlines()[0]}"
                    ) from error
                polls += 1  # and not the time: while this process is stopped, the workers are, too
                if polls * poll_s < self._timeout_s:
                    continue
                raise _StalledError(f"no batch came for {self._timeout_s:g} s") from None
            if batch is None:
                return
            if isinstance(batch, str):
                raise DataError(batch)
            polls = 0
            yield batch

    def _plans(self, epoch: int) -> list[BatchPlan]:
        settings, plans = self._settings, []
        for part in epoch_slices(settings, self.images, epoch):
            crops = draw_crops(
                settings.crop,
                self._side,
                seed=settings.seed,
                epoch=epoch,
                indices=part.indices,
                keys=part.keys,
            )
            plans.append(BatchPlan(indices=part.indices, crops=crops, whole=part.whole))
        return plans


def _as_it_is(batch: Batch | str) -> Batch | str:
    return batch
