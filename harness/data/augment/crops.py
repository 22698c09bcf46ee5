"""Crops and mirrors as numbers: which part of each stored square an epoch shows, the same for every loader.

A draw is a function of (seed, epoch, image), never of workers, so that loaders and machines agree bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.augment.counter_rng import draw_crops, draw_flips, draw_keys
from harness.data.base import CropRule


@dataclass(frozen=True)
class Cuts:
    """Where each image of a batch is cut: top row, left column (int64), whether it is mirrored (bool); (N,) each."""

    ys: NDArray[np.int64]
    xs: NDArray[np.int64]
    flips: NDArray[np.bool_]


def draw_cuts(view: CropRule, side: int, *, seed: int, epoch: int, indices: NDArray[np.int64]) -> Cuts:
    """The cuts of one batch in its order; a centre crop of an odd spare leaves the larger part below and right."""
    keys = draw_keys(indices, view.images_per_draw)
    spare = side - (view.crop or side)
    if view.place == "random":
        ys, xs = draw_crops(seed, epoch, keys, spare)
    else:
        ys = xs = np.full(len(indices), spare // 2, dtype=np.int64)
    flips = draw_flips(seed, epoch, keys) if view.mirror else np.zeros(len(indices), dtype=np.bool_)
    return Cuts(ys=ys, xs=xs, flips=flips)


def cut(square: NDArray[np.uint8], y: int, x: int, flip: bool, crop: int | None) -> NDArray[np.uint8]:
    """One stored square (R, R, 3) to what the network sees: (3, S, S), contiguous, cut first and mirrored after."""
    side = crop or square.shape[0]
    window = square[y : y + side, x : x + side]
    if flip:
        window = window[:, ::-1]
    return np.ascontiguousarray(window.transpose(2, 0, 1))
