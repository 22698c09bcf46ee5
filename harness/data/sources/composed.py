"""Images with a known box: a garment of Fashion-MNIST, scaled, somewhere on a larger canvas of noise.

It lets a network with a box head train on any machine. Sizes and places are a function of (split,
image) alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.augment.counter_rng import SCALE, SHIFT, draw_uniforms
from harness.data.sources.arrays import ArraySplit

CANVAS, SMALLEST, LARGEST = 56, 20, 44  # pixels: the canvas's side, and the range of the garment's tile
SEED = 2012
NOISE = 64  # grey levels of the background, of 256
INK = 24  # a garment's box bounds its pixels above this grey level


class ComposedSplit:
    """Garments of `plain` on canvases; see sources.base.ImageDataset. number: of the split, 0 or 1."""

    root: Path | None = None
    ignored, contents = 0, ""

    def __init__(self, plain: ArraySplit, number: int) -> None:
        self.plain, self.number = plain, number
        self.classes, self.labels = plain.classes, plain.labels
        self.sides = SMALLEST + self._draw(SCALE, np.full(len(plain), LARGEST - SMALLEST))[0]
        self.lefts, self.tops = self._draw(SHIFT, CANVAS - self.sides)
        self.boxes: NDArray[np.float32] | None = self._boxes()
        recipe = f"{plain.listing} {CANVAS} {SMALLEST} {LARGEST} {SEED} {NOISE} {INK} {number}"
        self.listing = hashlib.sha256(recipe.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.plain)

    def name(self, index: int) -> str:
        return f"{self.plain.name(index)} on its canvas"

    def size(self, index: int) -> tuple[int, int]:
        return CANVAS, CANVAS

    def item(self, index: int) -> NDArray[np.uint8]:
        """uint8, (56, 56, 3): the brighter of noise and garment."""
        side, left, top = int(self.sides[index]), int(self.lefts[index]), int(self.tops[index])
        noise = np.random.Generator(np.random.Philox(key=[SEED + self.number, index])).bytes(
            CANVAS * CANVAS * 3
        )
        canvas = (np.frombuffer(noise, dtype=np.uint8) % NOISE).reshape(CANVAS, CANVAS, 3)
        garment = Image.fromarray(self.plain.item(index)).resize(
            (side, side), Image.Resampling.BILINEAR
        )
        tile = canvas[top : top + side, left : left + side]
        np.maximum(tile, np.asarray(garment), out=tile)
        return canvas

    def item_and_digest(self, index: int) -> tuple[NDArray[np.uint8], bytes]:
        return self.item(index), b""

    def _draw(self, stream: int, spare: NDArray[np.int64]) -> NDArray[np.int64]:
        """Two draws an image, uniform in 0..spare, both ends: int64, (2, N)."""
        uniforms = draw_uniforms(SEED, self.number, np.arange(len(self.plain)), 2, stream)
        return np.floor(uniforms.T * (spare + 1)).astype(np.int64)

    def _boxes(self) -> NDArray[np.float32]:
        """The hull of each garment's ink, as fractions of the canvas."""
        ink = self.plain.images > INK
        hulls = [_hull(np.any(ink, axis=axis)) for axis in (1, 2)]  # across, down
        scale = self.sides / ink.shape[1]
        corner = np.column_stack(
            [hulls[0][:, 0] * scale + self.lefts, hulls[1][:, 0] * scale + self.tops]
        )
        extent = np.column_stack([hulls[0][:, 1] * scale, hulls[1][:, 1] * scale])
        return (np.hstack([corner, extent]) / CANVAS).astype(np.float32)


def open_composed(train: ArraySplit, val: ArraySplit) -> tuple[ComposedSplit, ComposedSplit]:
    """The two splits over those of Fashion-MNIST."""
    return ComposedSplit(train, 0), ComposedSplit(val, 1)


def _hull(marks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First marked place and number of places up to the last, (N, 2), of each row of `marks`; all of
    it if none is.
    """
    marks = marks | ~marks.any(axis=1, keepdims=True)
    first = marks.argmax(axis=1)
    last = marks.shape[1] - marks[:, ::-1].argmax(axis=1)
    return np.column_stack([first, last - first])
