"""What the training loader is compared with, on the same images and with as many workers.

torchvision_pil: ImageFolder and torch's DataLoader; PIL decodes, crops and mirrors at random.
torchvision_tensor: the same, but torchvision decodes to a tensor, which is cropped and mirrored.
timm: timm's create_loader on the same files, with its training transforms (a random resized crop, floats).
ffcv_stock: FFCV itself on our stored file, with its own random resized crop, flip and conversion, and its
just-in-time compiler; in a process of its own, since ours changes how FFCV is imported.
torch's loaders start their workers in every window, as they do in every epoch.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.bench.timing import Elsewhere, Way
from harness.data.base import LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.errors import RunFailed
from harness.setup import ffcv
from harness.spec import RunSpec

PEER_IMAGES = 2000  # training images that are written as files for the other loaders
PEER_WINDOW_S = 1.0  # their epoch is repeated until it takes about as long


@contextmanager
def loader_peers(
    spec: RunSpec, prepared: Prepared, workers: int, scratch: Path
) -> Iterator[tuple[dict[str, Way], dict[str, str]]]:
    """The ways of the peers by name, and the reason of each that can't be measured here.

    scratch: an empty folder for files. FFCV's process ends with the block.
    """
    files = _write_files(prepared, spec, min(PEER_IMAGES, prepared.spec.train_images), scratch)
    size, batch = spec.net.input_size, spec.recipe.batch_size
    ways: dict[str, Way] = {
        "torchvision_pil": _repeated(lambda n: _torchvision(files, size, batch, workers, n, "pil")),
        "torchvision_tensor": _repeated(
            lambda n: _torchvision(files, size, batch, workers, n, "tensor")
        ),
        "timm": _repeated(lambda n: _timm(files, size, batch, workers, n)),
    }
    stored = None if prepared.folder is None else prepared.folder / "train.beton"
    works, why = ffcv.status()
    if not works or stored is None or not stored.exists():
        reason = why if not works else "the images of this data set are not stored in a file for FFCV"
        yield ways, {"ffcv_stock": reason}
        return
    with OtherProcess(stock_ffcv(stored, size, batch, workers)) as stock:
        yield ways | {"ffcv_stock": stock}, {}


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


def _repeated(loader_of: Callable[[int], Any]) -> Way:
    """One epoch of a loader over the files, as often in a row as takes about PEER_WINDOW_S.

    loader_of: the loader whose epoch is so many times the files.
    """
    _images(loader_of(1))
    started_s = time.perf_counter()
    _images(loader_of(1))
    repeats = max(1, round(PEER_WINDOW_S / (time.perf_counter() - started_s)))
    return lambda: _images(loader_of(repeats))


def _images(loader: Any) -> int:
    """The number of images in one epoch."""
    return sum(len(labels) for _, labels in loader)


def _torchvision(
    folder: Path, size: int, batch_size: int, workers: int, repeats: int, decoder: str
) -> Any:
    from torch.utils.data import ConcatDataset, DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    moves = [v2.RandomCrop(size), v2.RandomHorizontalFlip()]
    if decoder == "pil":
        files = ImageFolder(str(folder), v2.Compose([*moves, v2.PILToTensor()]))
    else:
        files = ImageFolder(str(folder), v2.Compose(moves), loader=_decoded)
    return DataLoader(ConcatDataset([files] * repeats), batch_size, shuffle=True, num_workers=workers)


def _decoded(path: str) -> Any:
    """The file as a uint8 tensor (3, height, width)."""
    from torchvision.io import ImageReadMode, decode_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 announces a successor
        return decode_image(path, ImageReadMode.RGB)


def _timm(folder: Path, size: int, batch_size: int, workers: int, repeats: int) -> Any:
    import torch
    from timm.data import create_loader, dataset  # type: ignore[attr-defined]

    files = dataset.ImageDataset(str(folder))  # type: ignore[no-untyped-call]
    files.reader.samples = files.reader.samples * repeats
    return create_loader(
        files,
        (3, size, size),
        batch_size,
        is_training=True,
        use_prefetcher=False,  # it copies to a GPU
        num_workers=workers,
        persistent_workers=False,
        device=torch.device("cpu"),
    )


def stock_ffcv(stored: Path, size: int, batch_size: int, workers: int) -> list[str]:
    """The command of a process that loads by FFCV alone."""
    numbers = map(str, (size, batch_size, workers, PEER_IMAGES))
    return [sys.executable, "-m", "harness.bench.ffcv_stock", str(stored), *numbers]


class OtherProcess:
    """A process that works for a window for each line of its stdin, and then prints images and CPU
    seconds.
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> OtherProcess:
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # closes its stdin, so that it ends

    def __call__(self) -> Elsewhere:
        """One window. Raises RunFailed where the process ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        images, _, cpu_s = self.process.stdout.readline().partition(" ")
        if not cpu_s:
            raise RunFailed(f"the process {' '.join(self._command[1:3])} ended; its message is above")
        return Elsewhere(int(images), float(cpu_s))
