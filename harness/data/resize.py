"""From an image file to the stored image: the one place where images are decoded, resized and cropped before training.

The .beton writer and the folder loader both use it, so that raw mode stores exactly what the folder loader reads.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture: TypeAlias = "Image.Image | NDArray[np.uint8]"

# What PIL raises for files that are no images, are cut short, contradict themselves, or would unpack to more than its
# pixel limit.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def open_rgb(path: Path) -> Image.Image:
    """Decode a file to RGB, whatever its name ends in; raises one of DECODE_ERRORS. Orientation tags are ignored."""
    with path.open("rb") as file, Image.open(file) as image:
        return image.convert("RGB")


def resize_and_centre_crop(picture: Picture, side: int) -> NDArray[np.uint8]:
    """The stored image, uint8 (side, side, 3): the short side resized to `side`, then the centre crop (paper sec. 2).

    PIL's bilinear filter, which averages when it shrinks. It equals torchvision's Resize(side) and CenterCrop(side),
    which a test holds it to; it is written out here since importing torchvision loads torch, 2 s and 200 MB in each
    writer process. Smaller images are enlarged: 28 pixels of Fashion-MNIST to 36, say.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    width, height = image.size
    short = min(width, height)
    if short != side:
        size = [int(side * length / short) if length != short else side for length in (width, height)]
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2.0) for length in image.size)
    return np.asarray(image.crop((left, top, left + side, top + side)))
