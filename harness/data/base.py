"""What every loader promises, so that training can't tell one from another: same order, same crops, owned tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from harness.spec import DataSpec
from variants.values import value

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Batch:
    """One batch, owned by whoever holds it (never a view of a loader's ring).

    images: uint8, (N, 3, S, S), RGB 0-255. labels, indices: int64, (N,); an index is the image's place in its split.
    boxes: float32, (N, 4), x, y, width, height as shares of the stored square; None without boxes.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    boxes: torch.Tensor | None = None


@value
class CropRule:
    """What part of the stored square a loader delivers.

    crop: side of the crop, None for the whole square. place: where it is cut. mirror: flip left-right half the time.
    images_per_draw: this many consecutive images of the epoch's order share one draw.
    """

    crop: int | None = None
    place: Literal["random", "centre"] = "centre"
    mirror: bool = False
    images_per_draw: int = 1


@value
class LoaderChoice:
    """Which loader runs and why, for records and report: `reason` is a plain sentence, e.g. why FFCV could not."""

    name: Literal["ffcv", "folder", "synthetic"]
    reason: str


class Loader(Protocol):
    """Batches of one split. `epoch(n)` gives every image exactly once, the last partial batch too.

    Shuffled loaders order by a function of (seed, epoch) alone; unshuffled ones by index.
    Leaving the `with` block early frees threads and memory. A dead or hung pipeline raises RunFailed within 30 s.
    """

    choice: LoaderChoice
    images: int
    batches: int

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]: ...


class Progress(Protocol):
    """Called as work goes on: `what` is a short label, `done` of `total` items (None where unknown)."""

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


def silent(what: str, done: int, total: int | None) -> None:
    """The Progress that says nothing."""


@dataclass(frozen=True)
class Prepared:
    """A data set ready to load: where its files are, what is in it, and the statistics the paper's recipe needs.

    mean: float32, (3, S, S), the training set's mean image (0-255). std: float32 (3,), per channel.
    eigenvalues, eigenvectors: float32, (3,) and (3, 3), of the training pixels' RGB covariance; vectors are columns.
    manifest: what manifest.json says (source, counts per class, digest of the listing, write settings, versions).
    """

    spec: DataSpec
    classes: tuple[str, ...]
    folder: Path
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    eigenvalues: NDArray[np.float32]
    eigenvectors: NDArray[np.float32]
    manifest: dict[str, Any]
