"""Items for the tests of .beton files. Worker processes import this, so it imports little."""

import os
import signal

import numpy as np

SIDE = 12


def square(i, side=SIDE):
    """A noise image of its own for each i."""
    return np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)


def smooth(i, side=48):
    """Slow gradients, which JPEG keeps."""
    y, x = np.mgrid[:side, :side] / side
    return np.stack([200 * y, 200 * x, 100 * (y + x)], axis=-1).astype(np.uint8) + np.uint8(i)


def noise_item(i):
    return square(i), i % 3, None


def smooth_item(i):
    return smooth(i), i % 3, None


def boxed_item(i):
    return square(i), i % 3, np.array([i / 100, 0.25, 0.5, 0.125], dtype=np.float32)


def third_fails(i):
    if i == 2:
        raise ValueError("a torn photo")
    return noise_item(i)


def third_is_killed(i):
    if i == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return noise_item(i)
