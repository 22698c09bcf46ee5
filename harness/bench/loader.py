"""Measures the training loader, and for comparison torchvision's loader on the same images.

The peer reads the images from PNG or JPEG files with PIL, crops and mirrors them at random and gives
uint8 tensors, by torch's DataLoader with as many workers. FFCV's time is that of its own process; the
peer's workers are counted, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from harness.bench.timing import Timing, interleaved
from harness.data.base import Loader, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.placement import Placement
from harness.set_up import training_loader
from harness.spec import RunSpec

PEER = "torchvision_pil"
PEER_IMAGES = 2000  # training images that are written as files for torchvision's loader
WINDOW_BATCHES = 500  # many more than the 3 that FFCV loads in advance


@dataclass(frozen=True)
class LoaderResult:
    """timings: of this loader under "loader", and of each peer. choice: which loader it is, and why."""

    timings: dict[str, Timing]
    loader: str
    reason: str

    @property
    def ratio_to(self) -> dict[str, float]:
        """How many times as many images per CPU second as each peer."""
        ours = self.timings["loader"].images_per_cpu_second
        return {
            name: round(ours / timing.images_per_cpu_second, 2)
            for name, timing in self.timings.items()
            if name != "loader"
        }


def measure_loader(
    spec: RunSpec, prepared: Prepared, where: Placement, windows: int, scratch: Path
) -> LoaderResult:
    """Measure this loader and torchvision's alternately. scratch: an empty folder for the files of
    the latter.
    """
    loader = training_loader(spec, prepared, where)
    files = _write_files(prepared, spec, min(PEER_IMAGES, loader.images), scratch)
    ways = {
        "loader": batches_of(loader, WINDOW_BATCHES * spec.recipe.batch_size),
        PEER: _torchvision(files, spec.net.input_size, spec.recipe.batch_size, where.workers),
    }
    return LoaderResult(interleaved(ways, windows), loader.choice.name, loader.choice.reason)


def batches_of(loader: Loader, images: int) -> Callable[[], int]:
    """Starts an epoch and takes so many images from it, or all; returns how many.

    Each window starts anew, so that none counts batches that were loaded ahead while something else was
    timed.
    """
    epochs = count()

    def window() -> int:
        taken = 0
        with loader.epoch(next(epochs)) as batches:
            for batch in batches:
                taken += len(batch.labels)
                if taken >= images:
                    break
        return taken

    return window


def _write_files(prepared: Prepared, spec: RunSpec, wanted: int, folder: Path) -> Path:
    """Write the first stored training images as files in one class folder: PNG, or JPEG if they are
    stored as JPEG.
    """
    settings = LoaderSettings(batch_size=100)
    suffix = "jpg" if spec.data.store_format == "jpeg" else "png"
    (folder / "all").mkdir(parents=True)
    written = 0
    with open_loader(prepared, "train", settings).epoch(0) as batches:
        for batch in batches:
            for image in batch.images.numpy():
                array = np.ascontiguousarray(image.transpose(1, 2, 0))
                Image.fromarray(array).save(folder / "all" / f"{written:07d}.{suffix}")
                written += 1
                if written == wanted:
                    return folder
    return folder


def _torchvision(folder: Path, size: int, batch_size: int, workers: int) -> Callable[[], int]:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([v2.RandomCrop(size), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    files = ImageFolder(str(folder), transform)

    def epoch() -> int:
        loader = DataLoader(files, batch_size, shuffle=True, num_workers=workers)
        return sum(len(labels) for _, labels in loader)

    return epoch
