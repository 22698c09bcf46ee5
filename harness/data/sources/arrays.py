"""A split whose images are one array in memory: what small, fixed data sets come as."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class ArraySplit:
    """images: uint8, (N, H, W) shown as three equal channels, or (N, H, W, 3).

    See sources.base.ImageDataset.
    """

    root: Path | None = None
    boxes: NDArray[np.float32] | None = None
    ignored = 0

    def __init__(
        self,
        what: str,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        classes: tuple[str, ...],
        contents: str = "",
    ) -> None:
        self.contents = contents
        self.what, self.images, self.labels, self.classes = what, images, labels, classes
        self.listing = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self.what} image {index}"

    def size(self, index: int) -> tuple[int, int]:
        height, width = self.images.shape[1:3]
        return width, height

    def item(self, index: int) -> NDArray[np.uint8]:
        image = self.images[index]
        return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)

    def item_and_digest(self, index: int) -> tuple[NDArray[np.uint8], bytes]:
        return self.item(index), b""
