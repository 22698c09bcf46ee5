"""Counter-based random numbers: every draw of the loaders is a pure function of (seed, epoch, image,
stream).

They come from a hash (two rounds of SplitMix64's finaliser, Steele et al. 2014) instead of a generator
with state. So a draw doesn't depend on the order of calls or the number of workers: FFCV's threads,
torchvision's processes and tests get the same bits. Integers are the same on every machine; normal
numbers are bit-identical on one machine, and differ by at most 1e-15 between machines. Different kinds
of draws use different streams, so that they are independent.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Bits: TypeAlias = NDArray[np.uint64]

# Streams: one number per kind of draw. Kinds with several values per image use (stream, 0), (stream,
# 1), ...
ORDER, CROP_Y, CROP_X, FLIP, COLOUR, ROTATE, SCALE, SHIFT, DROPOUT = range(9)

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, SplitMix64's step
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # SplitMix64's finaliser, shifts 30, 27, 31


def stream_base(seed: int, epoch: int, stream: int, draw: int = 0) -> int:
    """The 64-bit number of (seed, epoch, stream, draw); an image's key is hashed onto it."""
    base = 0
    for part in (seed, epoch, stream, draw):
        base = _mix_int((base ^ part) + GOLDEN)
    return base


def hash_keys(base: int, keys: ArrayLike) -> Bits:
    """64 random bits per key: uint64, shape of `keys`. Keys are image indices, 0 or above."""
    counters = np.asarray(keys).astype(np.uint64) * np.uint64(GOLDEN)
    return _mix(_mix(counters + np.uint64(base)) ^ np.uint64(base))


def epoch_order(seed: int, epoch: int, n: int) -> Ints:
    """The order of an epoch: a permutation of 0..n-1, int64.

    Sorting hashes rather than numpy's permutation, whose stream may change between numpy versions (NEP
    19).
    """
    return np.argsort(hash_keys(stream_base(seed, epoch, ORDER), np.arange(n)), kind="stable").astype(
        np.int64
    )


def draw_keys(indices: ArrayLike, images_per_draw: int) -> Ints:
    """The key of each image of a batch: `images_per_draw` consecutive images use the first one's index.

    Groups start anew in each batch, as in the 2012 code, whose batch size (128) is a multiple of the
    group size (32). If it isn't, the last group of a batch is smaller. With images_per_draw=1 keys are
    the indices. Shape (N,), int64.
    """
    batch = np.asarray(indices, dtype=np.int64)
    places = np.arange(len(batch))
    keys: Ints = batch[places - places % images_per_draw]
    return keys


def draw_offsets(seed: int, epoch: int, keys: ArrayLike, spare: int) -> tuple[Ints, Ints]:
    """Offsets (ys, xs) of a crop, int64, uniform in 0..spare (both ends), where spare = stored side
    - crop side.
    """
    ys = bounded(hash_keys(stream_base(seed, epoch, CROP_Y), keys), spare)
    xs = bounded(hash_keys(stream_base(seed, epoch, CROP_X), keys), spare)
    return ys, xs


def draw_flips(seed: int, epoch: int, keys: ArrayLike) -> NDArray[np.bool_]:
    """Whether each image is mirrored, with probability 1/2."""
    flips: NDArray[np.bool_] = hash_keys(stream_base(seed, epoch, FLIP), keys) >> np.uint64(63) == 1
    return flips


def draw_uniforms(seed: int, epoch: int, keys: ArrayLike, count: int, stream: int) -> Floats:
    """Uniform in [0, 1): float64, (N, count)."""
    bits = [hash_keys(stream_base(seed, epoch, stream, draw), keys) for draw in range(count)]
    return _unit(np.stack(bits, axis=-1))


def draw_normals(seed: int, epoch: int, keys: ArrayLike, count: int, stream: int = COLOUR) -> Floats:
    """Standard normal: float64, (N, count), by Box and Muller from two uniforms each."""
    uniforms = draw_uniforms(seed, epoch, keys, 2 * count, stream)
    radius = np.sqrt(-2.0 * np.log1p(-uniforms[..., :count]))  # 1 - u is never 0
    normals: Floats = radius * np.cos(2.0 * np.pi * uniforms[..., count:])
    return normals


def bounded(bits: Bits, spare: int) -> Ints:
    """Bits to 0..spare by multiplying the upper 32 (Lemire); the bias is below spare / 2^32."""
    return ((bits >> np.uint64(32)) * np.uint64(spare + 1) >> np.uint64(32)).astype(np.int64)


def _unit(bits: Bits) -> Floats:
    floats: Floats = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return floats


def _mix(bits: Any) -> Bits:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(FACTORS[0])
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(FACTORS[1])
    mixed: Bits = bits ^ (bits >> np.uint64(31))
    return mixed


def _mix_int(bits: int) -> int:
    bits &= MASK
    bits = (bits ^ bits >> 30) * FACTORS[0] & MASK
    bits = (bits ^ bits >> 27) * FACTORS[1] & MASK
    return bits ^ bits >> 31
