"""Fashion-MNIST, which is downloaded automatically: from Debian's package without root, or by
torchvision.

70,000 grey images of garments, 28x28, 10 classes (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747; MIT
licence). Debian has compressed the files again, so the checksums are those of the unpacked bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.prepare.manifest import data_file, disk_errors
from harness.data.progress import Progress
from harness.data.sources.arrays import ArraySplit
from harness.errors import DataError, HarnessError
from harness.setup import debian
from harness.setup.steps import SetupError, Steps

PACKAGE = "dataset-fashion-mnist"
INSTALLED = "usr/share/datasets/fashion-mnist"  # where the package has the files
SYSTEM = Path("/") / INSTALLED  # where they are when root installed it
SUMS = {  # sha256 of the unpacked IDX files
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def open_fashion_mnist(
    path: Path | None, cache: Path, progress: Progress
) -> tuple[ArraySplit, ArraySplit]:
    """path: a folder with the four files, .gz or not; without it they are found on the system, or
    fetched once.
    """
    files = _read(path) if path else _found_or_fetched(cache / "downloads" / "fashion-mnist", progress)
    return (_split("train", files, "train"), _split("val", files, "t10k"))


def _found_or_fetched(home: Path, progress: Progress) -> dict[str, bytes]:
    for folder in (home, SYSTEM):
        try:
            return _read(folder)
        except DataError:
            continue  # not there yet, or not whole
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        files = _fetched(home, progress)
    for name, data in files.items():
        with data_file(home / name) as file:
            file.write(data)
    return files


def _fetched(home: Path, progress: Progress) -> dict[str, bytes]:
    """The four files, by the first way that works, each in a scratch folder of its own."""
    reasons = []
    for fetch in (_from_debian, _from_torchvision):
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            try:
                return fetch(Path(scratch), progress)
            except HarnessError as error:
                reasons.append(str(error))
    raise DataError(
        f"Fashion-MNIST can't be fetched ({'; '.join(reasons)}); install the Debian package {PACKAGE}, "
        "or put its four files into a folder and add --path FOLDER"
    )


def _read(folder: Path) -> dict[str, bytes]:
    """The four files unpacked, by name.

    Raises DataError where one is missing or not what it should be.
    """
    files = {}
    for name, known in SUMS.items():
        try:
            packed = folder / f"{name}.gz"
            data = (
                gzip.decompress(packed.read_bytes())
                if packed.exists()
                else (folder / name).read_bytes()
            )
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{folder} has no readable {name}.gz ({error})") from error
        if hashlib.sha256(data).hexdigest() != known:
            raise DataError(
                f"{folder / name} is not Fashion-MNIST's: its checksum differs; remove it and try again"
            )
        files[name] = data
    return files


def _from_debian(scratch: Path, progress: Progress) -> dict[str, bytes]:
    progress("fetching Fashion-MNIST from Debian, 31 MB", 0, None)
    root = debian.unpack(scratch, Steps(log=scratch / "log", environ=os.environ), [PACKAGE])
    return _read(root / INSTALLED)


def _from_torchvision(scratch: Path, progress: Progress) -> dict[str, bytes]:
    from torchvision.datasets import FashionMNIST

    progress("fetching Fashion-MNIST from its own site, 30 MB", 0, None)
    try:
        FashionMNIST(scratch, download=True)
    except (OSError, RuntimeError) as error:
        raise SetupError(f"its site can't be reached: {str(error).strip().splitlines()[0]}") from error
    return _read(scratch / "FashionMNIST/raw")


def _split(what: str, files: dict[str, bytes], prefix: str) -> ArraySplit:
    labels = _idx(files[f"{prefix}-labels-idx1-ubyte"], 1).astype(np.int64)
    return ArraySplit(
        f"Fashion-MNIST {what}", _idx(files[f"{prefix}-images-idx3-ubyte"], 3), labels, CLASSES
    )


def _idx(data: bytes, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes: a magic number, `dimensions` big-endian lengths, the values."""
    shape = np.frombuffer(data, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape.tolist())
