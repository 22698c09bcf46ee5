"""Random crops and mirror images as numbers: which part of each stored image an epoch uses, for every loader.

A draw is a function of (seed, epoch, image), never of workers, so that loaders and machines agree bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.augment.counter_rng import draw_flips, draw_keys, draw_offsets
from harness.data.base import CropRule, Crops


def draw_crops(rule: CropRule, side: int, *, seed: int, epoch: int, indices: NDArray[np.int64]) -> Crops:
    """The crops of one batch in its order; side: of the stored images, in pixels.

    A centre crop of an odd margin leaves the larger part below and right.
    """
    keys = draw_keys(indices, rule.images_per_draw)
    spare = side - (rule.size or side)
    if rule.position == "random":
        ys, xs = draw_offsets(seed, epoch, keys, spare)
    else:
        ys = xs = np.full(len(indices), spare // 2, dtype=np.int64)
    flips = draw_flips(seed, epoch, keys) if rule.mirror else np.zeros(len(indices), dtype=np.bool_)
    return Crops(ys=ys, xs=xs, flips=flips)


def crop_image(image: NDArray[np.uint8], y: int, x: int, flip: bool, size: int | None) -> NDArray[np.uint8]:
    """One stored image (R, R, 3) to its crop (3, S, S), contiguous; cropped first and mirrored after."""
    size = size or image.shape[0]
    crop = image[y : y + size, x : x + size]
    if flip:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop.transpose(2, 0, 1))
