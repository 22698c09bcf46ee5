"""Pixel arithmetic on the device against numpy in float64 and torchvision: colour noise, mean, views, warps, boxes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from harness.data.augment.boxes import AffineCrops
from harness.data.augment.counter_rng import draw_normals
from harness.data.augment.crops import draw_crops
from harness.data.augment.transforms import ImageTransform, train_crop
from harness.data.base import Batch, Prepared
from harness.data.prepare.manifest import Manifest, Origin, StoreSettings
from harness.data.prepare.statistics import Moments, Statistics
from harness.errors import UsageError
from harness.spec import DataSpec
from variants.recipes.recipe import Augmentation, FixedDrops, Recipe
from variants.recipes.recipe import Pixels as Range

SIDE, SIZE, IMAGES = 12, 8, 6
CPU = torch.device("cpu")

# One float32 rounding of a number below 512 is at most 2^-24 * 512 = 3.1e-5; a sum of three of them has three.
ONE_ROUNDING, FEW_ROUNDINGS = 3.1e-5, 1e-4


def squares() -> np.ndarray[Any, np.dtype[np.uint8]]:
    random = np.random.default_rng(0)
    base = random.integers(0, 256, (IMAGES, SIDE, SIDE, 1))
    return ((base + random.integers(0, 60, (IMAGES, SIDE, SIDE, 3))) // 2).astype(np.uint8)


def measured() -> Statistics:
    moments = Moments(SIDE)
    for square in squares():
        moments.add(square)
    return moments.statistics()


def prepared() -> Prepared:
    spec = DataSpec(
        name="tiny", listing="0", classes=2, train_images=IMAGES, val_images=IMAGES, store_size=SIDE
    )
    manifest = Manifest(
        source=Origin(name="tiny"),
        spec=spec,
        settings=StoreSettings(store_size=SIDE),
        classes=("a", "b"),
        counts={},
        skipped={},
        ignored={},
        roots={},
        loaders=(),
        files={},
        versions={},
    )
    return Prepared(folder=None, manifest=manifest, **vars(measured()))


def recipe(augment: Augmentation | None = None, pixels: Range | None = None) -> Recipe:
    return Recipe(
        name="tiny",
        schedule=FixedDrops(at_epochs=()),
        store_size=SIDE,
        augmentation=augment or Augmentation(),
        pixels=pixels or Range(),
    )


def arithmetic(augment: Augmentation | None = None, pixels: Range | None = None) -> ImageTransform:
    return ImageTransform(prepared(), recipe(augment, pixels), SIZE, seed=3, device=CPU)


def stacked(made: ImageTransform, whole: torch.Tensor, protocol: Any) -> torch.Tensor:
    """All views of a protocol, (N, V, 3, S, S)."""
    return torch.stack(list(made.views(whole, protocol)), dim=1)


def crops(boxes: torch.Tensor | None = None, side: int = SIZE) -> Batch:
    images = torch.from_numpy(squares().transpose(0, 3, 1, 2)[:, :, :side, :side].copy())
    return Batch(images, torch.zeros(IMAGES, dtype=torch.int64), torch.arange(IMAGES), boxes)


def centre_mean() -> np.ndarray[Any, np.dtype[np.float64]]:
    return squares().astype(np.float64).mean(axis=0).transpose(2, 0, 1)[:, 2:10, 2:10]


def test_statistics_equal_numpy_over_all_pixels() -> None:
    """float64 in both; stored as float32, so 6e-8 relative."""
    pixels, found = squares().reshape(-1, 3).astype(np.float64), measured()
    np.testing.assert_allclose(
        found.mean, squares().astype(np.float64).mean(axis=0).transpose(2, 0, 1), rtol=1e-7
    )
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-7)
    vectors, values = found.eigenvectors.astype(np.float64), found.eigenvalues.astype(np.float64)
    np.testing.assert_allclose(vectors * values @ vectors.T, np.cov(pixels.T, bias=True), rtol=1e-5)
    assert (np.diff(values) <= 0).all()


def test_statistics_do_not_depend_on_how_the_images_are_split() -> None:
    first, second = Moments(SIDE), Moments(SIDE)
    for i in (5, 0, 3):
        second.add(squares()[i])
    for i in (4, 1, 2):
        first.add(squares()[i])
    first.merge(second)
    for name, array in vars(first.statistics()).items():
        assert (array == getattr(measured(), name)).all(), name


def test_training_subtracts_the_central_crop_of_the_mean_image() -> None:
    found = arithmetic(Augmentation(colour_std=0.0)).train(crops(), 0)
    expected = crops().images.numpy().astype(np.float64) - centre_mean()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=ONE_ROUNDING)


def test_channel_mean_and_std_are_scalars_of_each_channel() -> None:
    found = arithmetic(Augmentation(colour_std=0.0), Range(mean="channel", divide_by_std=True)).train(
        crops(), 0
    )
    pixels = squares().reshape(-1, 3).astype(np.float64)
    images = crops().images.numpy().astype(np.float64)
    expected = (images - pixels.mean(axis=0).reshape(3, 1, 1)) / pixels.std(axis=0).reshape(3, 1, 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=ONE_ROUNDING)


@pytest.mark.parametrize("scale", ["eigenvalue", "std"])
def test_colour_noise_is_the_papers_formula(scale: Any) -> None:
    """Paper sec. 4.1 with pixels in 0-1: p1, p2, p3 times alpha * lambda; the 2012 code: times alpha * sqrt(lambda)."""
    augment = Augmentation(colour_scale=scale, divide_by=1.1)
    values, vectors = np.linalg.eigh(
        np.cov(squares().reshape(-1, 3).astype(np.float64).T / 255.0, bias=True)
    )
    alphas = 0.1 * draw_normals(3, 4, np.arange(IMAGES), 3)
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(3)])
    values, vectors = values[::-1], (vectors * signs)[:, ::-1]
    lengths = values if scale == "eigenvalue" else np.sqrt(values)
    noise = 255.0 * np.stack(
        [sum(vectors[:, k] * alpha[k] * lengths[k] for k in range(3)) for alpha in alphas]
    )
    expected = (
        crops().images.numpy().astype(np.float64) - centre_mean() + noise[:, :, None, None]
    ) / 1.1
    found = arithmetic(augment).train(crops(), 4)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=FEW_ROUNDINGS)


def test_colour_noise_is_drawn_anew_each_epoch_and_for_each_image() -> None:
    pixels = arithmetic(Augmentation(images_per_draw=32))
    noise = np.stack([pixels.colour_noise(crops(), epoch) for epoch in range(3)]).reshape(-1, 3)
    assert len(np.unique(noise, axis=0)) == 3 * IMAGES


def test_colour_noise_can_be_switched_off_late() -> None:
    off = arithmetic().train(crops(), 1, colour=False)
    assert torch.equal(off, arithmetic(Augmentation(colour_std=0.0)).train(crops(), 1))


def test_without_colour_noise_nothing_is_divided() -> None:
    made = arithmetic(Augmentation(colour_scale="std", divide_by=1.1))
    plain = arithmetic(Augmentation(colour_std=0.0)).train(crops(), 0)
    noise = torch.from_numpy(made.colour_noise(crops(), 0))[:, :, None, None]
    torch.testing.assert_close(
        made.train(crops(), 0), (plain + noise) / 1.1, rtol=0, atol=FEW_ROUNDINGS
    )
    assert torch.equal(made.train(crops(), 0, colour=False), plain)
    assert torch.equal(arithmetic(Augmentation(colour_std=0.0, divide_by=1.1)).train(crops(), 0), plain)


def test_a_recipes_own_mean_and_std_take_the_place_of_the_data_sets() -> None:
    mean, std = (120.0, 110.0, 100.0), (58.0, 57.0, 56.0)
    found = arithmetic(Augmentation(colour_std=0.0), Range(mean=mean, divide_by_std=std))
    images = crops().images.numpy().astype(np.float64)
    expected = (images - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(found.train(crops(), 0), expected, atol=ONE_ROUNDING)
    whole = torch.from_numpy(squares().transpose(0, 3, 1, 2).copy())
    centre = (whole[:, :, 2:10, 2:10].numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(
        std, (3, 1, 1)
    )
    np.testing.assert_allclose(stacked(found, whole, "centre")[:, 0], centre, atol=ONE_ROUNDING)


def test_ten_views_equal_torchvision() -> None:
    whole = crops(side=SIDE).images
    found = stacked(arithmetic(), whole, "ten_view")
    expected = (
        np.stack([view.double().numpy() for view in tv.ten_crop(whole, [SIZE, SIZE])], axis=1)
        - centre_mean()
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=ONE_ROUNDING)


def test_centre_and_mirror_are_views_4_and_9_of_ten() -> None:
    pixels, whole = arithmetic(), crops(side=SIDE).images
    ten = stacked(pixels, whole, "ten_view")
    assert torch.equal(stacked(pixels, whole, "centre"), ten[:, 4:5])
    assert torch.equal(stacked(pixels, whole, "mirror"), ten[:, 9:10])


def test_nine_views_are_a_grid_row_by_row_with_the_centre_fifth() -> None:
    pixels, whole = arithmetic(pixels=Range(mean="none")), crops(side=SIDE).images
    nine = stacked(pixels, whole, "nine_view")
    assert torch.equal(nine[:, 1], whole[:, :, 0:8, 2:10].float())
    assert torch.equal(nine[:, 3], whole[:, :, 2:10, 0:8].float())
    assert torch.equal(nine[:, 4:5], stacked(pixels, whole, "centre"))
    assert nine.shape[1] == 9


def test_an_upright_unscaled_window_is_the_plain_crop() -> None:
    """grid_sample computes positions in float32: off by 1e-6 of a pixel, times 255."""
    whole = crops(side=SIDE).images
    at = AffineCrops(*(np.full(IMAGES, share) for share in ((3 + 4) / 12, (1 + 4) / 12, 4 / 12, 0.0)))
    found = arithmetic()._warp(whole.float(), at)
    np.testing.assert_allclose(found.numpy(), whole[:, :, 1:9, 3:11].numpy(), rtol=0, atol=1e-3)


def test_a_quarter_turn_is_rot90() -> None:
    whole = crops(side=SIDE).images
    at = AffineCrops(*(np.full(IMAGES, share) for share in (0.5, 0.5, 4 / 12, np.pi / 2)))
    found = arithmetic()._warp(whole.float(), at)
    expected = torch.rot90(whole[:, :, 2:10, 2:10], 1, (2, 3))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=1e-3)


def test_a_turning_recipe_asks_the_loader_for_whole_squares() -> None:
    assert train_crop(recipe(Augmentation(rotate_degrees=5.0)), SIZE).size is None
    assert train_crop(recipe(Augmentation(scale=(0.5, 1.0))), SIZE).size is None
    assert train_crop(recipe(), SIZE).size == SIZE


def painted() -> tuple[np.ndarray[Any, np.dtype[np.uint8]], torch.Tensor]:
    """Squares of zeros with one bright rectangle each, and its box."""
    made, boxes = np.zeros((IMAGES, SIDE, SIDE, 3), dtype=np.uint8), []
    for i in range(IMAGES):
        x, y, width, height = 4 + i % 3, 4 + i % 2, 3, 2
        made[i, y : y + height, x : x + width] = 255
        boxes.append([x / SIDE, y / SIDE, width / SIDE, height / SIDE])
    return made, torch.tensor(boxes, dtype=torch.float32)


def hull(image: torch.Tensor) -> list[float]:
    rows, columns = (torch.nonzero(image.amax(0).amax(axis) > 127)[:, 0] for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    return [x / SIZE, y / SIZE, (int(columns[-1]) + 1 - x) / SIZE, (int(rows[-1]) + 1 - y) / SIZE]


def test_boxes_follow_crop_and_mirror() -> None:
    made, boxes = painted()
    pixels = arithmetic(Augmentation(colour_std=0.0), Range(mean="none"))
    drawn = draw_crops(train_crop(recipe(), SIZE), SIDE, seed=3, epoch=2, indices=np.arange(IMAGES))
    assert drawn.flips.any()
    assert not drawn.flips.all()
    images = []
    for square, y, x, flip in zip(made, drawn.ys, drawn.xs, drawn.flips, strict=True):
        crop = square[y : y + SIZE, x : x + SIZE].transpose(2, 0, 1)
        images.append(torch.from_numpy(crop[:, :, ::-1].copy() if flip else crop.copy()))
    batch = replace(crops(boxes), images=torch.stack(images), crops=drawn)
    expected = np.array([hull(image) for image in pixels.train(batch, 2)])
    np.testing.assert_allclose(pixels.train_boxes(batch, 2).numpy(), expected, atol=1e-6)


def test_boxes_follow_a_warp() -> None:
    """Bilinear edges and the grid of pixels blur a hull by less than one and a half pixels of 8."""
    made, boxes = painted()
    pixels = arithmetic(
        Augmentation(colour_std=0.0, mirror=False, rotate_degrees=10.0, scale=(0.9, 1.1)),
        Range(mean="none"),
    )
    rule = train_crop(pixels.recipe, SIZE)
    drawn = draw_crops(rule, SIDE, seed=3, epoch=0, indices=np.arange(IMAGES))
    batch = replace(
        crops(boxes), images=torch.from_numpy(made.transpose(0, 3, 1, 2).copy()), crops=drawn
    )
    images, found = pixels.train(batch, 0), pixels.train_boxes(batch, 0)
    for image, box in zip(images, found, strict=True):
        np.testing.assert_allclose(box.numpy(), hull(image), atol=1.5 / SIZE)


def test_centre_boxes_are_shares_of_the_centre_view() -> None:
    made, boxes = painted()
    pixels = arithmetic(pixels=Range(mean="none"))
    views = stacked(pixels, torch.from_numpy(made.transpose(0, 3, 1, 2).copy()), "centre")
    expected = np.array([hull(view[0]) for view in views])
    np.testing.assert_allclose(pixels.centre_boxes(boxes).numpy(), expected, atol=1e-6)


def test_a_network_larger_than_the_stored_square_is_refused() -> None:
    with pytest.raises(UsageError, match="prepare it with --size 16"):
        ImageTransform(prepared(), recipe(), 16, seed=0, device=CPU)
