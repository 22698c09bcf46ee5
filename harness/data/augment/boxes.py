"""Bounding boxes as arithmetic: where a box lies once its picture was resized, cut, turned or mirrored.

A box is x, y, width, height as shares of its picture, x and y of the upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]  # (N, 4)


@dataclass(frozen=True)
class Windows:
    """The part of each stored square that the network sees, as shares of the square's side; float64, (N,) each.

    x, y: the window's centre. half: half its side. angle: radians it is turned by.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    half: NDArray[np.float64]
    angle: NDArray[np.float64]


def mirrored(boxes: Boxes, flips: NDArray[np.bool_]) -> Boxes:
    """The boxes of pictures mirrored left-right where `flips` says so."""
    x = np.where(flips, 1.0 - boxes[:, 0] - boxes[:, 2], boxes[:, 0])
    return np.column_stack([x, boxes[:, 1:]]).astype(np.float32)


def seen_through(boxes: Boxes, windows: Windows) -> Boxes:
    """The boxes as shares of their windows: the upright hull of the turned corners, clipped to the window."""
    left, top, width, height = (boxes[:, k].astype(np.float64) for k in range(4))
    xs = np.stack([left, left + width, left, left + width]) - windows.x
    ys = np.stack([top, top, top + height, top + height]) - windows.y
    cos, sin, side = np.cos(windows.angle), np.sin(windows.angle), 2.0 * windows.half
    across = ((cos * xs + sin * ys) / side + 0.5).clip(0.0, 1.0)
    down = ((cos * ys - sin * xs) / side + 0.5).clip(0.0, 1.0)
    low_x, low_y = across.min(axis=0), down.min(axis=0)
    hull = np.column_stack([low_x, low_y, across.max(axis=0) - low_x, down.max(axis=0) - low_y])
    return hull.astype(np.float32)


def in_square(box: tuple[float, float, float, float], width: int, height: int) -> tuple[float, float, float, float]:
    """A box of a `width` x `height` picture as shares of its central square, clipped to it."""
    side = min(width, height)
    spans = []
    for start, extent, length in ((box[0], box[2], width), (box[1], box[3], height)):
        offset = (length - side) / 2
        low, high = (min(max((end * length - offset) / side, 0.0), 1.0) for end in (start, start + extent))
        spans.append((low, high - low))
    return (spans[0][0], spans[1][0], spans[0][1], spans[1][1])
