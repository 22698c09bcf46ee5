"""Synthetic images: the same from the same seed, each seen once an epoch, and learnable."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.data.base import Batch, CropRule, Loader, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.loaders.synthetic import SyntheticImages
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.errors import UsageError

CROP = CropRule(size=16, position="random", mirror=True)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare("synthetic", StoreSettings(store_size=20, limit=(300, 70)))


def loader(prepared: Prepared, seed: int = 1, crop: CropRule = CROP) -> Loader:
    return open_loader(
        prepared, "train", LoaderSettings(batch_size=64, crop=crop, seed=seed, shuffle=True, workers=1)
    )


def batches(loader: Loader, epoch: int = 0) -> list[Batch]:
    with loader.epoch(epoch) as found:
        return list(found)


def test_every_image_comes_once_and_the_last_batch_is_the_rest(prepared: Prepared) -> None:
    found = batches(loader(prepared))
    assert [len(batch.labels) for batch in found] == [64, 64, 64, 64, 44]
    assert torch.cat([batch.indices for batch in found]).sort().values.tolist() == list(range(300))
    assert {tuple(batch.images.shape[1:]) for batch in found} == {(3, 16, 16)}


def test_an_epoch_is_a_function_of_seed_and_epoch(prepared: Prepared) -> None:
    first, again, other = (batches(loader(prepared, seed))[0].images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, batches(loader(prepared), 1)[0].images)


def test_the_bytes_are_pinned() -> None:
    """Another sum means that runs on synthetic data made before can't be compared with runs after."""
    squares = SyntheticImages("train", 12)
    found = hashlib.sha256(b"".join(squares.item(index).tobytes() for index in range(20))).hexdigest()
    assert found.startswith("c1555d5131688ff4")


def test_splits_differ() -> None:
    train, val = (SyntheticImages(split, 12).item(0) for split in ("train", "val"))
    assert (train != val).any()


def test_a_small_network_learns_it_within_sixty_steps(prepared: Prepared) -> None:
    """Chance is 90 % error; one convolution and global pooling get below 50 % in two seconds, with room to spare."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)
    )
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for epoch in range(12):
        for batch in batches(loader(prepared), epoch):
            loss = F.cross_entropy(net(batch.images.float() / 128 - 1), batch.labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    val = open_loader(
        prepared,
        "val",
        LoaderSettings(batch_size=70, crop=CropRule(size=16), seed=0, shuffle=False, workers=1),
    )
    (batch,) = batches(val)
    wrong = net(batch.images.float() / 128 - 1).argmax(1) != batch.labels
    assert wrong.float().mean() < 0.5


def test_a_crop_larger_than_the_square_is_refused(prepared: Prepared) -> None:
    with pytest.raises(UsageError, match="--size 24"):
        loader(prepared, crop=CropRule(size=24))


def test_nothing_is_written(tmp_path: Path) -> None:
    prepare("synthetic", StoreSettings(store_size=8, limit=(10, 10)), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
