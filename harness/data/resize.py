"""From an image file to the stored image: the one place where images are decoded, resized and cropped
before training.

The .beton writer and the folder loader both use it, so that raw mode stores exactly what the folder
loader reads.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture: TypeAlias = "Image.Image | NDArray[np.uint8]"

# PIL tries no other decoder. Its EPS decoder runs Ghostscript, which executes what is in the file.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
LARGEST_FILE = 2 << 30  # bytes; the pixels that PIL's limit admits take 0.5 GiB
LONGEST = 64  # long side in short sides; of a longer image the centre alone is resized

# What PIL raises for files that are no images, are cut short, contradict themselves, or would unpack to
# more than its pixel limit. Its decoders raise many kinds of errors for damaged files.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of what `open_rgb` gives, from the file's header; raises one of
    DECODE_ERRORS.
    """
    with regular_file(path) as file, Image.open(file, formats=FORMATS) as image:
        # PIL turns it by its orientation tag; in some versions only when it decodes
        if image.format == "TIFF":
            image.load()
        return image.size


@contextmanager
def regular_file(path: Path) -> Iterator[BufferedReader]:
    """The file, open for reading.

    Raises ValueError for FIFOs, devices and files above LARGEST_FILE; never waits.
    """
    # without O_NONBLOCK a FIFO waits for a writer
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > LARGEST_FILE:
            raise ValueError(
                f"{status.st_size / (1 << 30):.1f} GiB, more than any image that is read here"
            )
        yield file


def open_rgb(path: Path) -> Image.Image:
    """Decode a file to RGB, whatever its name ends in; raises one of DECODE_ERRORS.

    Orientation tags are ignored.
    """
    with regular_file(path) as file:
        return decode_rgb(file)


def decode_rgb(file: BinaryIO) -> Image.Image:
    """As `open_rgb`, from an open file.

    Grey images of 16 bits, 32 bits or floats are refused: PIL would clip them.
    """
    with Image.open(file, formats=FORMATS) as image:
        if image.mode.startswith("I") or image.mode == "F":
            raise ValueError(
                f"pixels of more than 8 bits (PIL's mode {image.mode}); convert it to 8 bits"
            )
        return image.convert("RGB")


def resize_and_centre_crop(picture: Picture, side: int) -> NDArray[np.uint8]:
    """The stored image, uint8 (side, side, 3): the short side resized to `side`, then the centre crop
    (paper sec. 2).

    PIL's bilinear filter, which averages when it shrinks. It equals torchvision's Resize(side) and
    CenterCrop(side), which a test holds it to; it is written out here since importing torchvision loads
    torch, 2 s and 200 MB in each writer process. Smaller images are enlarged: 28 pixels of
    Fashion-MNIST to 36, say. An image longer than LONGEST short sides is cropped to that length first:
    1 x 1,000,000 pixels would take over 200 GB at side 256.
    """
    image = _without_far_ends(picture if isinstance(picture, Image.Image) else Image.fromarray(picture))
    width, height = image.size
    short = min(width, height)
    if short != side:
        size = [int(side * length / short) if length != short else side for length in (width, height)]
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2.0) for length in image.size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def _without_far_ends(image: Image.Image) -> Image.Image:
    """The image, or its centre of LONGEST short sides where it is longer; as many pixels are cut at
    both ends.
    """
    width, height = image.size
    across, down = (
        max(0, (long - LONGEST * short) // 2) for long, short in ((width, height), (height, width))
    )
    return image.crop((across, down, width - across, height - down)) if across or down else image
