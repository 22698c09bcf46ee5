"""The folder loader: every image once, owned batches, errors that surface, and the same batches as FFCV in raw mode.

Only the comparison with FFCV is skipped where ffcv is not installed: there is nothing to compare with.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.augment.crops import draw_crops
from harness.data.base import Batch, CropRule, Loader, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.loaders.folder import FolderLoader
from harness.data.page_order import Pages
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import Listing, StoreSettings
from harness.errors import DataError, RunFailed
from harness.placement import LoaderName

TRAIN = CropRule(size=12, position="random", mirror=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; pictures of several shapes, three of them JPEG."""
    root, random = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 3)):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (18 + i, 24 - i, 3), dtype=np.uint8)
                ending = "jpg" if i == 1 else "png"
                Image.fromarray(pixels).save(root / split / label / f"{i}.{ending}")
    return root


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(
        "folder",
        StoreSettings(store_size=16),
        path=source,
        loader="folder",
        cache=tmp_path_factory.mktemp("cache"),
    )


def folder_loader(
    prepared: Prepared, crop: CropRule = TRAIN, batch_size: int = 4, workers: int = 0
) -> Loader:
    return open_loader(
        prepared,
        "train",
        LoaderSettings(batch_size=batch_size, crop=crop, seed=1, shuffle=True, workers=workers),
        "folder",
    )


def batches(loader: Loader, epoch: int = 0) -> list[Batch]:
    with loader.epoch(epoch) as found:
        return list(found)


def test_every_image_comes_once_with_its_label(prepared: Prepared) -> None:
    found = batches(folder_loader(prepared))
    indices, labels = (
        torch.cat([getattr(batch, name) for batch in found]) for name in ("indices", "labels")
    )
    assert indices.sort().values.tolist() == list(range(14))
    assert torch.equal(labels, (indices >= 7).long())
    assert [len(batch.labels) for batch in found] == [4, 4, 4, 2]


def test_a_batch_of_one_keeps_its_shapes(prepared: Prepared) -> None:
    (first, *_) = batches(folder_loader(prepared, batch_size=1))
    assert tuple(first.images.shape) == (1, 3, 12, 12)
    assert tuple(first.labels.shape) == tuple(first.indices.shape) == (1,)


def test_batches_do_not_depend_on_the_number_of_workers(prepared: Prepared) -> None:
    """Processes are started here: two seconds."""
    alone, together = batches(folder_loader(prepared)), batches(folder_loader(prepared, workers=2))
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.indices, other.indices)


def test_loading_leaves_the_global_generator_alone(prepared: Prepared) -> None:
    """Dropout draws from it: with another loader a run would differ."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    batches(folder_loader(prepared))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "crop",
    [
        TRAIN,
        CropRule(size=12, position="random", mirror=True, images_per_draw=3),
        CropRule(size=11),
        CropRule(),
    ],
)
@pytest.mark.parametrize("pages", [None, Pages(images=3, together=2)])
def test_batches_equal_those_of_ffcv_bit_for_bit(
    source: Path, tmp_path: Path, crop: CropRule, pages: Pages | None
) -> None:
    pytest.importorskip("ffcv")
    for loader in ("folder", "ffcv"):
        ready = prepare(
            "folder",
            StoreSettings(store_size=16),
            path=source,
            loader=loader,
            cache=tmp_path,
            workers=1,
        )
    ours, theirs = (
        open_loader(
            ready,
            "train",
            LoaderSettings(batch_size=4, crop=crop, seed=1, shuffle=True, workers=0, pages=pages),
            loader,
        )
        for loader in ("folder", "ffcv")
    )
    assert (ours.choice.name, theirs.choice.name) == ("folder", "ffcv")
    for epoch in range(2):
        for one, other in zip(batches(ours, epoch), batches(theirs, epoch), strict=True):
            for field in ("images", "labels", "indices"):
                assert torch.equal(getattr(one, field), getattr(other, field)), field


def test_a_file_that_broke_since_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    listing = Listing(names=["a.png"], labels=np.zeros(1, dtype=np.int64), boxes=None)
    with pytest.raises(
        DataError, match=r"a\.png was readable when the data was prepared and is not now"
    ):
        batches(plain(tmp_path, listing))


def test_a_worker_that_hangs_ends_the_run_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.data.loaders.folder.open_rgb", lambda path: time.sleep(20))
    listing = Listing(names=["a.png"], labels=np.zeros(1, dtype=np.int64), boxes=None)
    started = time.monotonic()
    with pytest.raises(RunFailed, match="the folder loader stopped"):
        batches(plain(tmp_path, listing, workers=1, timeout_s=1.0))
    assert time.monotonic() - started < 15.0


def plain(root: Path, listing: Listing, workers: int = 0, timeout_s: float = 30.0) -> FolderLoader:
    return FolderLoader(
        root,
        listing,
        LoaderSettings(crop=CropRule(), batch_size=1, seed=0, shuffle=False, workers=workers),
        side=8,
        reason="a test",
        timeout_s=timeout_s,
    )


def test_a_listing_survives_the_disk_whatever_the_names(tmp_path: Path) -> None:
    names = ["a/ü\n\t.png", "b/\udcff.png"]
    boxes = np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], dtype=np.float32)
    Listing(names=names, labels=np.array([3, 1]), boxes=boxes).save(tmp_path / "listing")
    found = Listing.load(tmp_path / "listing")
    assert found.names == names
    assert found.labels.tolist() == [3, 1]
    assert found.boxes is not None
    assert (found.boxes == boxes).all()


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_batches_bring_the_crops_that_were_drawn_for_them(
    source: Path, tmp_path: Path, loader: LoaderName
) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    ready = prepare("folder", StoreSettings(store_size=16), path=source, loader=loader, cache=tmp_path)
    settings = LoaderSettings(batch_size=4, crop=TRAIN, seed=1, shuffle=True, workers=0)
    for batch in batches(open_loader(ready, "train", settings, loader), epoch=2):
        drawn = draw_crops(TRAIN, 16, seed=1, epoch=2, indices=batch.indices.numpy())
        assert batch.crops is not None
        for name in ("ys", "xs", "flips"):
            assert (getattr(batch.crops, name) == getattr(drawn, name)).all()


def test_writer_processes_load_no_torch() -> None:
    command = "import sys, harness.data.ffcv.encode, harness.data.prepare.export, harness.data.sources.class_folders"
    assert (
        subprocess.run(
            [sys.executable, "-c", f"{command}; sys.exit('torch' in sys.modules)"]
        ).returncode
        == 0
    )
