"""What is known of images that are in a half-written .beton file: kept beside it, so that a killed
preparation goes on.

Writer processes import this, so it imports neither torch nor FFCV.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from harness.data.ffcv.encode import encode
from harness.data.prepare.export import box_of
from harness.data.prepare.manifest import BadImage, data_file
from harness.data.prepare.scan import Part, examine
from harness.data.prepare.statistics import Moments
from harness.data.resize import Picture
from harness.data.sources.base import ImageDataset
from harness.errors import RecordError
from harness.serialization import from_json, to_json

DAMAGED = (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile, RecordError)


@dataclass(frozen=True)
class Examined:
    """Some images, read once: what the first pass finds, and the bytes and boxes of the good ones."""

    part: Part
    pixels: list[bytes]
    boxes: list[NDArray[np.float32] | None]


@dataclass(frozen=True)
class Examine:
    """The work of a writer process. quality: of JPEG, None for raw."""

    split: ImageDataset
    side: int
    quality: int | None

    def __call__(self, indices: range) -> Examined:
        pixels, boxes = list[bytes](), list[NDArray[np.float32] | None]()

        def take(index: int, image: Picture, stored: NDArray[np.uint8]) -> None:
            pixels.append(encode(stored, self.side, self.quality))
            boxes.append(box_of(self.split, index, image))

        return Examined(examine(self.split, self.side, indices, take), pixels, boxes)


@dataclass(frozen=True)
class Group:
    """Images first .. stop - 1 of a split, whose data is in the file and synced.

    sizes: bytes of each good image, (k,). boxes: (k, 4), or (0, 4). digests: of their files, behind
    each other.
    moments: of all good images before `stop`. checksum: sha256 of the images' bytes.
    """

    first: int
    stop: int
    sizes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    digests: bytes
    bad: list[BadImage]
    moments: Moments
    checksum: bytes

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        bad = "\n".join(to_json(image) for image in self.bad).encode()
        plain = {"bad": bad, "digests": self.digests, "checksum": self.checksum}
        held: dict[str, Any] = {name: np.frombuffer(one, dtype=np.uint8) for name, one in plain.items()}
        held |= {"span": np.array([self.first, self.stop]), "sizes": self.sizes, "boxes": self.boxes}
        with data_file(path) as file:
            np.savez(file, **held, **self.moments.arrays)

    @staticmethod
    def load(path: Path) -> Group:
        """Raises one of DAMAGED."""
        with np.load(path, allow_pickle=False) as held:
            bad = [from_json(line, BadImage) for line in held["bad"].tobytes().splitlines()]
            moments = Moments.of(held["count"], held["sum"], held["products"])
            first, stop = held["span"].tolist()
            digests, checksum = held["digests"].tobytes(), held["checksum"].tobytes()
            return Group(first, stop, held["sizes"], held["boxes"], digests, bad, moments, checksum)


def data_of(beton: Path) -> Path:
    """The half-written file."""
    return beton.with_name(f"{beton.name}.part")


def groups_of(beton: Path) -> Path:
    """The folder of the groups, and of head.json, which says what they are of."""
    return beton.with_name(f"{beton.name}.groups")


def remove_parts(beton: Path) -> None:
    """Remove what is kept for going on: the preparation is whole, or starts anew."""
    shutil.rmtree(groups_of(beton), ignore_errors=True)
    data_of(beton).unlink(missing_ok=True)
