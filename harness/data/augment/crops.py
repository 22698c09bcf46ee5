"""Random crops and flips, for every loader: which part of each stored image an epoch uses.

A draw is a function of (seed, epoch, image), so that all loaders and machines give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.augment.counter_rng import draw_flips, draw_keys, draw_offsets
from harness.data.base import CropRule, Crops


def draw_crops(
    rule: CropRule,
    side: int,
    *,
    seed: int,
    epoch: int,
    indices: NDArray[np.int64],
    keys: NDArray[np.int64] | None = None,
) -> Crops:
    """The crops of one batch in its order; side: of the stored images, in pixels.

    If the margin of a centre crop is odd, the larger part is below and right.
    keys: which draw each image uses, for a rank's slice of a batch; None: as follows from the batch's
    indices.
    """
    of_slice, keys = keys, draw_keys(indices, rule.images_per_draw) if keys is None else keys
    spare = side - (rule.size or side)
    if rule.position == "random":
        ys, xs = draw_offsets(seed, epoch, keys, spare)
    else:
        ys = xs = np.full(len(indices), spare // 2, dtype=np.int64)
    flips = draw_flips(seed, epoch, keys) if rule.mirror else np.zeros(len(indices), dtype=np.bool_)
    return Crops(ys=ys, xs=xs, flips=flips, keys=of_slice)


def crop_image(
    image: NDArray[np.uint8], y: int, x: int, flip: bool, size: int | None
) -> NDArray[np.uint8]:
    """The crop (3, S, S) of one stored image (R, R, 3), contiguous; it is cropped first and then
    mirrored.
    """
    size = size or image.shape[0]
    crop = image[y : y + size, x : x + size]
    if flip:
        crop = crop[:, ::-1]
    return np.ascontiguousarray(crop.transpose(2, 0, 1))
