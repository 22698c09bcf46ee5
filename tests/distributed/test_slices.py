"""Slices of global batches: with any number of ranks, the ranks together read what one rank reads, image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.data.augment.transforms import ImageTransform
from harness.data.base import Batch, CropRule, Loader, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.page_order import Pages
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.slices import epoch_slices, rank_slice
from harness.placement import LoaderName
from variants.recipes import RECIPES
from variants.recipes.recipe import Augmentation

IMAGES, SIDE, CROP = 11, 20, 16  # three batches of 4, 4 and 3 images


@given(st.integers(0, 300), st.integers(1, 40))
def test_the_slices_of_a_batch_are_consecutive_and_their_sizes_differ_by_at_most_one(
    images: int, ranks: int
) -> None:
    parts = [rank_slice(images, rank, ranks) for rank in range(ranks)]
    assert [place for part in parts for place in range(images)[part]] == list(range(images))
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


@given(
    st.integers(1, 200),
    st.integers(1, 64),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from([None, Pages(images=7, together=3)]),
)
def test_an_epoch_gives_every_image_to_exactly_one_rank(
    images: int, batch: int, ranks: int, shuffle: bool, pages: Pages | None
) -> None:
    settings = [
        LoaderSettings(batch_size=batch, shuffle=shuffle, rank=rank, world_size=ranks, pages=pages)
        for rank in range(ranks)
    ]
    epochs = [list(epoch_slices(each, images, 3)) for each in settings]
    read = np.concatenate([part.indices for parts in epochs for part in parts])
    assert sorted(read.tolist()) == list(range(images))
    for parts in zip(*epochs, strict=True):
        assert {part.whole for part in parts} == {sum(len(part.indices) for part in parts)}


@pytest.fixture(scope="module", params=["synthetic", "folder", "ffcv"])
def data(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Prepared, LoaderName]:
    """11 images for each loader."""
    if request.param == "synthetic":
        return prepare_synthetic(StoreSettings(store_size=SIDE, limit=(IMAGES, 3))), "auto"
    if request.param == "ffcv":
        pytest.importorskip("ffcv")
    from calling import make_class_folders

    home = tmp_path_factory.mktemp(request.param)
    settings, folder = (
        StoreSettings(store_size=SIDE, limit=(IMAGES, 3)),
        make_class_folders(home / "images"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(home / "cache"))
        return prepare("folder", settings, path=folder, loader=request.param, workers=1), request.param


def batches(loader: Loader, epoch: int) -> list[Batch]:
    with loader.epoch(epoch) as found:
        return list(found)


@pytest.mark.parametrize(("ranks", "pages"), [(2, None), (4, None), (2, Pages(images=2, together=2))])
def test_the_ranks_batches_are_the_parts_of_the_whole_batch(
    data: tuple[Prepared, LoaderName], ranks: int, pages: Pages | None
) -> None:
    """Images, labels, and noise, which goes in groups of 3 images: 4 = 3 + 1 images a batch, cut within the group."""
    prepared, name = data
    crop = CropRule(size=CROP, position="random", mirror=True, images_per_draw=3)
    settings = LoaderSettings(batch_size=4, crop=crop, seed=5, shuffle=True, pages=pages)
    noise = Augmentation(colour_std=0.5, images_per_draw=3)
    pixels = ImageTransform(
        prepared, replace(RECIPES["mini"].recipe, augmentation=noise), CROP, 5, torch.device("cpu")
    )
    loaders = [
        open_loader(prepared, "train", replace(settings, rank=r, world_size=ranks), name)
        for r in range(ranks)
    ]
    whole = open_loader(prepared, "train", settings, name)
    assert {loader.batches for loader in (whole, *loaders)} == {3}
    for epoch in (0, 1):
        parts = [batches(loader, epoch) for loader in loaders]
        for number, batch in enumerate(batches(whole, epoch)):
            mine = [part[number] for part in parts]
            for field in ("images", "labels", "indices"):
                assert torch.equal(
                    torch.cat([getattr(one, field) for one in mine]), getattr(batch, field)
                )
            assert torch.equal(
                torch.cat([pixels.train(one, epoch) for one in mine]), pixels.train(batch, epoch)
            )
            assert sum(one.fraction for one in mine) == pytest.approx(1.0)
            assert batch.fraction == 1.0
    assert [len(part[2].labels) for part in parts] == ([2, 1] if ranks == 2 else [1, 1, 1, 0])


def test_evaluation_slices_are_by_index_and_may_be_empty(data: tuple[Prepared, LoaderName]) -> None:
    prepared, name = data
    parts = [
        open_loader(prepared, "val", LoaderSettings(batch_size=2, rank=rank, world_size=2), name)
        for rank in range(2)
    ]
    found = [[batch.indices.tolist() for batch in batches(part, 0)] for part in parts]
    assert found == [[[0], [2]], [[1], []]]
