"""The first pass over a data set: each image is decoded once, broken ones are named, the training set is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from harness.data.prepare.manifest import BadImage, printable
from harness.data.prepare.statistics import Moments
from harness.data.progress import Progress
from harness.data.resize import DECODE_ERRORS, resize_and_centre_crop
from harness.data.sources.base import ImageDataset, Subset
from harness.errors import DataError

CHUNK = 128


def scan_images(
    split: ImageDataset, side: int, what: str, workers: int | None, progress: Progress
) -> tuple[list[BadImage], Moments]:
    """Decode all of `split`: what is broken, and sums over the rest. In threads: PIL works outside of Python's lock."""
    bad, moments, done = [], Moments(side), 0
    starts = range(0, len(split), CHUNK)
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as threads:
        try:
            for faults, part in threads.map(lambda start: _chunk(split, side, start), starts):
                bad += faults
                moments.merge(part)
                done += part.count + len(faults)
                progress(what, done, len(split))
        except BaseException:  # Ctrl-C above all: don't decode the other million first
            threads.shutdown(cancel_futures=True)
            raise
    return bad, moments


def without_bad_images(split: ImageDataset, bad: Sequence[BadImage]) -> ImageDataset:
    """The split without its broken images. Raises DataError where none is left."""
    if not bad:
        return split
    if len(bad) == len(split):
        raise DataError(f"none of the {len(split)} files can be read as an image; the first is {bad[0].name}")
    return Subset(split, np.setdiff1d(np.arange(len(split)), [image.index for image in bad]))


def refuse_bad_images(bad: Sequence[BadImage], images: int) -> None:
    """Raise DataError that names the first and counts all, if there is any."""
    if bad:
        raise DataError(
            f"{len(bad)} of {images} files can't be read as images, the first is {bad[0].name} ({bad[0].reason}); "
            "fix or remove them, or leave them out with --skip-bad-images"
        )


def _chunk(split: ImageDataset, side: int, start: int) -> tuple[list[BadImage], Moments]:
    bad, moments = [], Moments(side)
    for index, image in _decoded(split, side, range(start, min(start + CHUNK, len(split)))):
        if isinstance(image, str):
            bad.append(BadImage(index=index, name=printable(split.name(index)), reason=image))
        else:
            moments.add(image)
    return bad, moments


def _decoded(split: ImageDataset, side: int, indices: range) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    for index in indices:
        try:
            yield index, resize_and_centre_crop(split.item(index), side)
        except DECODE_ERRORS as error:
            yield index, _reason(error)


def _reason(error: Exception) -> str:
    """The decoder's words in one line; PIL's "cannot identify image file <...>" repeats the name."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error).splitlines() or [type(error).__name__])[0]
