"""Loader speed: 256x256 to a random 224 with mirror, uint8, batch 128, 2 workers, against torchvision's with PIL.

Time is CPU seconds of this process and its children, so that a shared machine does not count; the two are taken in
turn and the ratio is of the medians. JPEGs are made here, unless HARNESS_BENCH_IMAGES names a folder of photos (noise
decodes 2x slower than photos, smooth gradients 1.7x faster; the mixture made here stands between).
Skipped where FFCV can't be installed.
"""

import os
import resource
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ffcv")

from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from harness.data.base import CropRule, LoaderSettings
from harness.data.ffcv.loader import FfcvLoader
from harness.data.ffcv.write import write_beton
from harness.data.prepare.manifest import StoreSettings

SIDE, CROP, BATCH, WORKERS = 256, 224, 128, 2
MADE = 64


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def made_photo(seed):
    """A smooth picture with edges and a little noise."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.BICUBIC
    )
    return Image.fromarray(
        np.clip(np.asarray(coarse) + draw.normal(0, 6, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    )


def squares():
    """Photos brought to 256x256, or made ones."""
    folder = os.environ.get("HARNESS_BENCH_IMAGES")
    if not folder:
        return [made_photo(seed) for seed in range(MADE)]
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in (".jpeg", ".jpg"))
    return [
        v2.functional.center_crop(v2.functional.resize(Image.open(file).convert("RGB"), SIDE), SIDE)
        for file in files
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same pictures as JPEG files in a class folder and as raw and JPEG .beton."""
    root, pictures = tmp_path_factory.mktemp("loader"), squares()
    (root / "files/one").mkdir(parents=True)
    for i, picture in enumerate(pictures):
        picture.save(root / f"files/one/{i:05}.jpg", quality=90)
    arrays = [np.asarray(picture) for picture in pictures]
    for store_format in ("raw", "jpeg"):
        settings = StoreSettings(store_size=SIDE, store_format=store_format)
        write_beton(
            root / f"{store_format}.beton", len(arrays), lambda i: (arrays[i], 0, None), settings
        )
    return root, len(pictures)


def torchvision_epoch(root, repeats):
    moves = v2.Compose([v2.RandomCrop(CROP), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    files = ConcatDataset([ImageFolder(root / "files", moves)] * repeats)
    return sum(len(images) for images, _ in DataLoader(files, BATCH, shuffle=True, num_workers=WORKERS))


def ffcv_epochs(loader, epochs):
    images = 0
    for epoch in range(epochs):
        with loader.epoch(epoch) as batches:
            images += sum(len(batch.images) for batch in batches)
    return images


@pytest.mark.benchmark(group="loader", timer=cpu_seconds)
@pytest.mark.parametrize("store_format", ["raw", "jpeg"])
def test_ffcv_loads_what_torchvision_loads(benchmark, stored, store_format):
    root, n = stored
    repeats = 1 if benchmark.disabled else max(1, 2000 // n)
    crop = CropRule(size=CROP, position="random", mirror=True)
    settings = LoaderSettings(batch_size=BATCH, crop=crop, shuffle=True, workers=WORKERS)
    loader = FfcvLoader(root / f"{store_format}.beton", settings, images=n, reason="asked for")
    rivals = []

    def rival():
        start = cpu_seconds()
        loaded = torchvision_epoch(root, repeats)
        rivals.append(loaded / (cpu_seconds() - start))
        assert loaded == n * repeats

    loaded = benchmark.pedantic(
        ffcv_epochs, (loader, 4 * repeats), setup=rival, rounds=1 if benchmark.disabled else 5
    )
    assert loaded == n * 4 * repeats
    if benchmark.stats:
        ours, theirs = loaded / benchmark.stats.stats.median, statistics.median(rivals)
        benchmark.extra_info["images_per_cpu_second"] = round(ours)
        benchmark.extra_info["torchvision_images_per_cpu_second"] = round(theirs)
        benchmark.extra_info["ratio"] = round(ours / theirs, 1)
        print(
            f"\n{store_format}: {ours:.0f} images per CPU second, torchvision {theirs:.0f}, ratio {ours / theirs:.1f}"
        )
