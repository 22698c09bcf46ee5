"""The loader's compiled loop: crops, mirrors and transposes images in one pass from the file to the
batch.

It takes 13-15 us for 224x224 out of 256x256, mirrored or not (FFCV's copy, crop and flip are 3 passes).
It releases Python's lock. Its machine code is kept in the cache folder (library.py): compiling takes
0.4 s once, loading 0.05 s.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.ffcv.library import numba

types = numba.types

_PIXELS = types.Array(types.uint8, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_FLAGS = types.Array(types.boolean, 1, "C", readonly=True)
_SIGNATURE = types.void(
    _PIXELS, _NUMBERS, types.int64, _NUMBERS, _NUMBERS, _FLAGS, types.uint8[:, :, :, ::1]
)


def _crop_planes(
    pixels: NDArray[np.uint8],
    starts: NDArray[np.int64],
    side: int,
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    flips: NDArray[np.bool_],
    out: NDArray[np.uint8],
) -> None:
    """Crop image i, (side, side, 3) from byte starts[i] of `pixels` on, at ys[i], xs[i] into out[i],
    (3, S, S).

    Nothing is checked here: an offset beyond `pixels` reads whatever is there.
    """
    # Unsigned throughout: with signed indices numba tests each for wrapping and LLVM no longer
    # vectorises (3x slower).
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    size, pitch = np.uint64(out.shape[2]), three * np.uint64(side)
    for i in range(out.shape[0]):
        corner = np.uint64(starts[i]) + np.uint64(ys[i]) * pitch + np.uint64(xs[i]) * three
        red, green, blue = out[i, 0].reshape(-1), out[i, 1].reshape(-1), out[i, 2].reshape(-1)
        for y in range(size):
            first = corner + np.uint64(y) * pitch
            row = pixels[first : first + three * size]
            left = np.uint64(y) * size
            if flips[i]:
                right = left + size - one
                for x in range(size):
                    here = np.uint64(x)
                    red[right - here] = row[three * here]
                    green[right - here] = row[three * here + one]
                    blue[right - here] = row[three * here + two]
            else:
                for x in range(size):
                    here = np.uint64(x)
                    red[left + here] = row[three * here]
                    green[left + here] = row[three * here + one]
                    blue[left + here] = row[three * here + two]


try:
    crop_planes = numba.njit(_SIGNATURE, nogil=True, cache=True)(_crop_planes)
except RuntimeError:  # no folder to keep machine code in can be written
    crop_planes = numba.njit(_SIGNATURE, nogil=True)(_crop_planes)
