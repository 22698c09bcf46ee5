"""Bounding boxes: computes a box after its image was resized, cropped, rotated or mirrored.

A box is x, y, width, height as fractions of its image, x and y of the upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Boxes = NDArray[np.float32]  # (N, 4)


@dataclass(frozen=True)
class AffineCrops:
    """Crops that may be scaled and rotated, as fractions of the stored image's side; float64, (N,)
    each.

    x, y: the crop's centre. half: half its side. angle: of its rotation, in radians.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    half: NDArray[np.float64]
    angle: NDArray[np.float64]


def mirror_boxes(boxes: Boxes, flips: NDArray[np.bool_]) -> Boxes:
    """The boxes of images mirrored left-right where `flips` says so."""
    x = np.where(flips, 1.0 - boxes[:, 0] - boxes[:, 2], boxes[:, 0])
    return np.column_stack([x, boxes[:, 1:]]).astype(np.float32)


def boxes_in_crops(boxes: Boxes, crops: AffineCrops) -> Boxes:
    """The boxes as fractions of their crops: the axis-aligned hull of the rotated corners, clipped
    to the crop.
    """
    left, top, width, height = (boxes[:, k].astype(np.float64) for k in range(4))
    xs = np.stack([left, left + width, left, left + width]) - crops.x
    ys = np.stack([top, top, top + height, top + height]) - crops.y
    cos, sin, side = np.cos(crops.angle), np.sin(crops.angle), 2.0 * crops.half
    across = ((cos * xs + sin * ys) / side + 0.5).clip(0.0, 1.0)
    down = ((cos * ys - sin * xs) / side + 0.5).clip(0.0, 1.0)
    low_x, low_y = across.min(axis=0), down.min(axis=0)
    hull = np.column_stack([low_x, low_y, across.max(axis=0) - low_x, down.max(axis=0) - low_y])
    return hull.astype(np.float32)


def box_in_centre_square(box: Box, width: int, height: int) -> Box:
    """A box of a `width` x `height` image as fractions of its central square, clipped to it."""
    side = min(width, height)
    spans = []
    for start, extent, length in ((box[0], box[2], width), (box[1], box[3], height)):
        offset = (length - side) / 2
        low, high = (
            min(max((end * length - offset) / side, 0.0), 1.0) for end in (start, start + extent)
        )
        spans.append((low, high - low))
    return (spans[0][0], spans[1][0], spans[0][1], spans[1][1])
