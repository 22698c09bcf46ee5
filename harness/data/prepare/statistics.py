"""Statistics of a training set for the paper's recipe: mean image, standard deviations, RGB covariance.

Sums are kept as integers, so they are exact and don't depend on the order or the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Statistics:
    """The statistics of harness.data.base.Prepared, on the 0-255 scale; see there for shapes."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    eigenvalues: NDArray[np.float32]
    eigenvectors: NDArray[np.float32]

    def save(self, file: BinaryIO) -> None:
        np.savez(file, **vars(self))

    @staticmethod
    def load(path: Path) -> Statistics:
        with np.load(path, allow_pickle=False) as arrays:
            return Statistics(
                **{name: arrays[name] for name in ("mean", "std", "eigenvalues", "eigenvectors")}
            )


class Moments:
    """Running sums over stored images of one side. int64 holds 2^63 / 255^2 / 256^2 = 2 billion
    images of 256x256.
    """

    def __init__(self, side: int) -> None:
        self.count = 0
        self._sum = np.zeros((side, side, 3), dtype=np.int64)
        self._products = np.zeros((3, 3), dtype=np.int64)

    def add(self, image: NDArray[np.uint8]) -> None:
        """`image`: (R, R, 3).

        The products of one image stay below 2^53, so float64 gives them exactly.
        """
        pixels = image.reshape(-1, 3).astype(np.float64)
        self.count += 1
        self._sum += image
        self._products += (pixels.T @ pixels).astype(np.int64)

    @property
    def arrays(self) -> dict[str, Any]:
        """The sums, for a file; `of` takes them."""
        return {"count": np.array(self.count), "sum": self._sum, "products": self._products}

    @classmethod
    def of(
        cls, count: NDArray[np.int64], sums: NDArray[np.int64], products: NDArray[np.int64]
    ) -> Moments:
        """Sums that were kept in a file."""
        made = cls(sums.shape[0])
        made.count, made._sum, made._products = int(count), sums, products
        return made

    def merge(self, other: Moments) -> None:
        self.count += other.count
        self._sum += other._sum
        self._products += other._products

    def statistics(self) -> Statistics:
        """Population (co)variance over all pixels.

        Eigenvalues fall; the largest entry of each vector is positive.
        """
        mean = self._sum / self.count
        channel = mean.mean(axis=(0, 1))
        pixels = self.count * mean.shape[0] * mean.shape[1]
        covariance = self._products / pixels - np.outer(channel, channel)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = values[::-1], vectors[:, ::-1]
        # for grey images these are rounding errors
        values = np.where(values > 1e-9 * values[0], values, 0.0)
        signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(3)])
        return Statistics(
            mean=mean.transpose(2, 0, 1).astype(np.float32),
            std=np.sqrt(np.diag(covariance).clip(min=0.0)).astype(np.float32),
            eigenvalues=values.astype(np.float32),
            eigenvectors=(vectors * signs).astype(np.float32),
        )
