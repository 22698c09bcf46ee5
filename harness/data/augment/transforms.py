"""Image transforms on the device: from a loader's uint8 crops to the network's input, in training and
evaluation.

The order is that of the 2012 code (convdata_jpeg.py and cuda-convnet2's convdata.py): crop and mirror,
minus the mean, plus colour noise, divided by `divide_by`. Their mean is the central crop of the mean
image, the same for every crop and never mirrored. The paper says only "subtracting the mean activity
over the training set from each pixel" (sec. 2), which is compatible with it. `divide_by_std` comes
last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from harness.data.augment.boxes import AffineCrops, boxes_in_crops, mirror_boxes
from harness.data.augment.counter_rng import (
    ROTATE,
    SCALE,
    SHIFT,
    draw_keys,
    draw_normals,
    draw_uniforms,
)
from harness.data.base import Batch, CropRule, Prepared
from harness.data.prefetch import to_device
from harness.errors import UsageError
from variants.recipes.recipe import Recipe

ViewProtocol: TypeAlias = Literal["centre", "mirror", "ten_view", "nine_view"]
CENTRE_OF_TEN, MIRROR_OF_TEN = 4, 9  # indices of the views "centre" and "mirror" in ten_view


def warps(recipe: Recipe) -> bool:
    """Whether training images are rotated or scaled, which is done here, from the whole stored
    image.
    """
    return recipe.augmentation.rotate_degrees > 0.0 or recipe.augmentation.scale != (1.0, 1.0)


def train_crop(recipe: Recipe, input_size: int) -> CropRule:
    """The crop that the loader delivers for training."""
    augmentation = recipe.augmentation
    return CropRule(
        size=None if warps(recipe) else input_size,
        position=augmentation.crop,
        mirror=augmentation.mirror,
        images_per_draw=augmentation.images_per_draw,
    )


def crop_positions(side: int, size: int, protocol: ViewProtocol) -> list[tuple[int, int, bool]]:
    """The views of a stored image as (top, left, mirrored), in the order of torchvision's TenCrop.

    That is upper left, upper right, lower left, lower right, centre; then the same five of the mirrored
    image, so that view 5 is the mirrored upper right. If the margin is odd, the centre's larger margin
    is below and right, in both.
    nine_view: a 3 x 3 grid of positions, row by row, unmirrored (CIFARDataProvider of S and K2).
    """
    spare, middle = side - size, (side - size) // 2
    if protocol == "nine_view":
        starts = (0, middle, 2 * middle)
        return [(y, x, False) for y in starts for x in starts]
    five = [(0, 0), (0, spare), (spare, 0), (spare, spare), (middle, middle)]
    order = (*((corner, False) for corner in five), *((five[k], True) for k in (1, 0, 3, 2, 4)))
    ten = [(y, x, flip) for (y, x), flip in order]
    return {"centre": [ten[CENTRE_OF_TEN]], "mirror": [ten[MIRROR_OF_TEN]], "ten_view": ten}[protocol]


class ImageTransform:
    """The transforms of one recipe on one data set, with their tensors on `device`.

    All draws follow from `seed`.
    """

    def __init__(
        self, prepared: Prepared, recipe: Recipe, input_size: int, seed: int, device: torch.device
    ) -> None:
        self.recipe, self.size, self.seed, self.device = recipe, input_size, seed, device
        self.side = prepared.spec.store_size
        self._centre = torch.from_numpy(_centre(prepared, recipe, input_size)).to(device)
        self._std = torch.from_numpy(_std(prepared, recipe)).to(device)
        self._axes = _colour_axes(prepared, recipe)

    def train(self, batch: Batch, epoch: int, *, colour: bool = True) -> torch.Tensor:
        """The batch as the network trains on it, float32 (N, 3, S, S). `colour=False` draws no
        colour noise.
        """
        # a rank's slice of a batch that has fewer images than there are ranks
        if len(batch.labels) == 0:
            return torch.empty((0, 3, self.size, self.size), device=self.device)
        images = batch.images.to(self.device, non_blocking=True).float()
        if warps(self.recipe):
            images = self._warp(images, self._affine_crops(batch, epoch))
        images = images.sub_(self._centre)
        if colour and self.recipe.augmentation.colour_std > 0.0:
            # convdata_jpeg.py:155 has the noise and the division under one `if`
            noise = to_device(torch.from_numpy(self.colour_noise(batch, epoch)), self.device)
            images = images.add_(noise[:, :, None, None])
            if self.recipe.augmentation.divide_by != 1.0:
                images = images.div_(self.recipe.augmentation.divide_by)
        return images.div_(self._std) if self.recipe.pixels.divide_by_std else images

    def train_boxes(self, batch: Batch, epoch: int) -> torch.Tensor:
        """The boxes as fractions of what `train` gives for this batch, float32 (N, 4).

        The batch has its crops, which the loader drew.
        """
        assert batch.boxes is not None, "the data set has no boxes"
        assert batch.crops is not None, "the loader leaves out its crops"
        boxes, crops = batch.boxes.numpy(), batch.crops
        # the loader mirrored the whole image, and the rotated crop is taken of that
        if warps(self.recipe):
            moved = boxes_in_crops(mirror_boxes(boxes, crops.flips), self._affine_crops(batch, epoch))
        else:
            moved = mirror_boxes(boxes_in_crops(boxes, self._upright(crops.ys, crops.xs)), crops.flips)
        return to_device(torch.from_numpy(moved), self.device)

    def centre_boxes(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes of stored images as fractions of the centre view, float32 (N, 4)."""
        start = np.full(len(boxes), (self.side - self.size) // 2, dtype=np.int64)
        return torch.from_numpy(boxes_in_crops(boxes.numpy(), self._upright(start, start))).to(
            self.device
        )

    def views(self, stored: torch.Tensor, protocol: ViewProtocol) -> Iterator[torch.Tensor]:
        """The views of an evaluation protocol, one at a time: ten of 250 images at once take gigabytes.

        uint8 (N, 3, R, R) to 1, 1, 10 or 9 times float32 (N, 3, S, S), without noise and `divide_by`.
        Images of the input size have one crop only: all views of them are the whole image.
        """
        stored = stored.to(self.device, non_blocking=True)
        for y, x, flip in crop_positions(stored.shape[-1], self.size, protocol):
            view = stored[:, :, y : y + self.size, x : x + self.size]
            yield (view.flip(-1) if flip else view).float().sub_(self._centre).div_(self._std)

    def colour_noise(self, batch: Batch, epoch: int) -> NDArray[np.float32]:
        """PCA colour noise of each image, (N, 3), on the 0-255 scale, to be added to its channels."""
        draws = draw_normals(self.seed, epoch, batch.indices.numpy(), 3)
        return (draws @ self._axes.T).astype(np.float32)

    def _keys(self, batch: Batch) -> NDArray[np.int64]:
        """Which draw each image uses."""
        if batch.crops is not None and batch.crops.keys is not None:
            return batch.crops.keys
        return draw_keys(batch.indices.numpy(), self.recipe.augmentation.images_per_draw)

    def _upright(self, ys: NDArray[np.int64], xs: NDArray[np.int64]) -> AffineCrops:
        half = self.size / 2
        x, y = ((start + half) / self.side for start in (xs, ys))
        return AffineCrops(x=x, y=y, half=np.full(len(xs), half / self.side), angle=np.zeros(len(xs)))

    def _affine_crops(self, batch: Batch, epoch: int) -> AffineCrops:
        """Rotated and scaled crops: side uniform in scale x S; before its rotation a crop is inside
        of the image.
        """
        augmentation = self.recipe.augmentation
        keys = self._keys(batch)
        grow, turn = (
            draw_uniforms(self.seed, epoch, keys, 1, stream)[:, 0] for stream in (SCALE, ROTATE)
        )
        shift = draw_uniforms(self.seed, epoch, keys, 2, SHIFT) - 0.5
        low, high = augmentation.scale
        half = (low + (high - low) * grow) * self.size / self.side / 2
        room = (1.0 - 2.0 * half).clip(min=0.0) * (1.0 if augmentation.crop == "random" else 0.0)
        x, y = 0.5 + shift[:, 0] * room, 0.5 + shift[:, 1] * room
        angle = (2.0 * turn - 1.0) * math.radians(augmentation.rotate_degrees)
        return AffineCrops(x=x, y=y, half=half, angle=angle)

    def _warp(self, stored: torch.Tensor, crops: AffineCrops) -> torch.Tensor:
        """Bilinear samples of each crop; what is outside of the image is reflected at its border."""
        cos, sin = 2.0 * crops.half * np.cos(crops.angle), 2.0 * crops.half * np.sin(crops.angle)
        rows = [[cos, -sin, 2.0 * crops.x - 1.0], [sin, cos, 2.0 * crops.y - 1.0]]
        maps = to_device(
            torch.from_numpy(np.array(rows).transpose(2, 0, 1).astype(np.float32)), self.device
        )
        grid = F.affine_grid(maps, [len(stored), 3, self.size, self.size], align_corners=False)
        return F.grid_sample(
            stored, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )


def _std(prepared: Prepared, recipe: Recipe) -> NDArray[np.float32]:
    """The final divisor, (3, 1, 1): the recipe's constants, the training set's standard deviations,
    or 1.
    """
    wanted = recipe.pixels.divide_by_std
    if isinstance(wanted, tuple):
        return np.array(wanted, dtype=np.float32).reshape(3, 1, 1)
    return prepared.std.reshape(3, 1, 1) if wanted else np.ones((3, 1, 1), dtype=np.float32)


def _centre(prepared: Prepared, recipe: Recipe, size: int) -> NDArray[np.float32]:
    """The mean to subtract: (3, S, S), the mean image's central crop, or (3, 1, 1)."""
    if size > prepared.spec.store_size:
        raise UsageError(
            f"the network takes {size}x{size} pixels but {prepared.spec.name} is stored at "
            f"{prepared.spec.store_size}; prepare it with --size {size} or more"
        )
    if recipe.pixels.mean == "none":
        return np.zeros((3, 1, 1), dtype=np.float32)
    if recipe.pixels.mean == "channel":
        means: NDArray[np.float64] = prepared.mean.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        return means.astype(np.float32)
    if isinstance(recipe.pixels.mean, tuple):
        return np.array(recipe.pixels.mean, dtype=np.float32).reshape(3, 1, 1)
    start = (prepared.mean.shape[-1] - size) // 2
    return np.ascontiguousarray(prepared.mean[:, start : start + size, start : start + size])


def _colour_axes(prepared: Prepared, recipe: Recipe) -> NDArray[np.float64]:
    """The columns that normal draws are multiplied with: eigenvectors, scaled, on the 0-255 scale.

    The paper's "eigenvalue" makes sense for pixels in 0-1 only: there ImageNet's first eigenvalue is
    about .2, and the noise 5 grey levels; on 0-255 it would be 1,400. So an eigenvalue l counts as l /
    255 grey levels. The 2012 code's standard deviation, its root, has no such unit trouble (12 grey
    levels).
    """
    values = prepared.eigenvalues.astype(np.float64)
    lengths = np.sqrt(values) if recipe.augmentation.colour_scale == "std" else values / 255.0
    axes: NDArray[np.float64] = (
        prepared.eigenvectors.astype(np.float64) * lengths * recipe.augmentation.colour_std
    )
    return axes
