"""The first pass over a data set: each image is read once, hashed and decoded; broken ones are
named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.data.prepare.manifest import BadImage, printable
from harness.data.prepare.statistics import Moments
from harness.data.progress import Progress
from harness.data.resize import DECODE_ERRORS, Picture, resize_and_centre_crop
from harness.data.sources.base import ImageDataset, Subset
from harness.errors import DataError

CHUNK = 128


@dataclass(frozen=True)
class Scanned:
    """What the first pass found: broken images, and of the rest sums over pixels and a digest of the
    files.

    contents: sha256 in hex over the sha256 of each file, in order; "" where the images are no files.
    """

    bad: list[BadImage]
    moments: Moments
    contents: str


@dataclass(frozen=True)
class Part:
    """The same of some images, with the digests of their files behind each other."""

    bad: list[BadImage]
    moments: Moments
    digests: bytes


def scan_images(split: ImageDataset, side: int, what: str, workers: int, progress: Progress) -> Scanned:
    """Decode all of `split`. In threads: PIL works outside of Python's lock."""
    bad, moments, done, contents = list[BadImage](), Moments(side), 0, hashlib.sha256()
    starts = range(0, len(split), CHUNK)
    with ThreadPoolExecutor(workers) as threads:
        try:
            for part in threads.map(lambda start: _chunk(split, side, start), starts):
                bad += part.bad
                moments.merge(part.moments)
                contents.update(part.digests)
                done += part.moments.count + len(part.bad)
                progress(what, done, len(split))
        except BaseException:  # Ctrl-C above all: don't decode the other million first
            threads.shutdown(cancel_futures=True)
            raise
    return Scanned(bad, moments, "" if split.root is None else contents.hexdigest())


def without_bad_images(split: ImageDataset, bad: Sequence[BadImage]) -> ImageDataset:
    """The split without its broken images. Raises DataError where none is left."""
    if not bad:
        return split
    if len(bad) == len(split):
        raise DataError(
            f"none of the {len(split)} files can be read as an image; the first is {bad[0].name}"
        )
    return Subset(split, np.setdiff1d(np.arange(len(split)), [image.index for image in bad]))


def refuse_bad_images(bad: Sequence[BadImage], images: int) -> None:
    """Raise DataError that names the first and counts all, if there is any."""
    if bad:
        raise DataError(
            f"{len(bad)} of {images} files can't be read as images, the first is {bad[0].name} "
            f"({bad[0].reason}); fix or remove them, or leave them out with --skip-bad-images"
        )


def _chunk(split: ImageDataset, side: int, start: int) -> Part:
    return examine(split, side, range(start, min(start + CHUNK, len(split))))


Take: TypeAlias = Callable[[int, Picture, NDArray[np.uint8]], None]


def examine(split: ImageDataset, side: int, indices: range, take: Take = lambda *_: None) -> Part:
    """Read, hash and decode some images once. take: gets each good one's number, the image, and it
    as stored.
    """
    bad, moments, digests = list[BadImage](), Moments(side), list[bytes]()
    for index in indices:
        try:
            image, digest = split.item_and_digest(index)
            stored = resize_and_centre_crop(image, side)
        except DECODE_ERRORS as error:
            bad.append(BadImage(index=index, name=printable(split.name(index)), reason=_reason(error)))
        else:
            moments.add(stored)
            digests.append(digest)
            take(index, image, stored)
    return Part(bad, moments, b"".join(digests))


def _reason(error: Exception) -> str:
    """The decoder's words in one line; PIL's "cannot identify image file <...>" repeats the name."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return (str(error).splitlines() or [type(error).__name__])[0]
