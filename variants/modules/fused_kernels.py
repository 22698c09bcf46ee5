"""CPU kernels for ReLU, response normalisation across maps and 3x3 max pooling with stride 2, each
direction in one pass; compiled by numba, optional.

The pixels of a row are divided into the even and the odd ones. So the nine pixels of a window are at
fixed distances in memory, and every loop runs over a row. All sums have the order of
lrn_kernels_across.py and of torch's pooling, so the bits are theirs. There are two exceptions, for which
the neighbours in memory matter: infinite numbers, which give NaN times a mask of zeros, and gradients
that underflow, which give zeros of either sign. A kernel marks images with such numbers as extreme.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from variants.modules.numba_kernels import Bytes, Floats, Kernel, compiled

NO_WINDOW = 255  # at the border, where a pixel has fewer windows than elsewhere
NO_PLACE = 99  # equal to no place in a window and not to NO_WINDOW
LARGEST = np.finfo(np.float32).max


@cache
def kernels(size: int) -> tuple[Kernel, Kernel] | None:
    """The compiled (forward, backward) for a window of maps, or None where numba is not installed."""
    forward, backward = _forward(size // 2), _backward(size // 2)
    constants = ("table", "float", "float", "float", "int")
    one = compiled(forward, "images", *constants, "images out", "bytes out", "bytes out")
    other = compiled(
        backward, "images", "images", "bytes", *constants, "float", "images out", "bytes out"
    )
    return None if one is None or other is None else (one, other)


def _forward(half: int) -> Kernel:
    def forward(
        x: Floats,
        masks: Floats,
        scale: np.float32,
        k: np.float32,
        floor: np.float32,
        maps: int,
        out: Floats,
        places: Bytes,
        extreme: Bytes,
    ) -> None:
        """x: (N, H, W * maps). floor: 0 with ReLU, else -inf. out: (N, out_H, out_W * maps), and the
        like the place 0..8 of the maximum in its window. extreme: (N, 1, 1), 1 for images with
        extreme numbers.
        """
        height, width, line = x.shape[1], x.shape[2] // maps, out.shape[2]
        block, low = masks.shape[1], np.float32(-np.inf)
        rectified, squares = np.zeros(block, np.float32), np.zeros(block + 2 * half, np.float32)
        # the last window may be cut, so what is right of the row never is a maximum
        normal = np.full((width + 1) * maps, low, np.float32)
        # of each of a window's three rows, the maximum and its place
        best, where = np.full((3, line), low, np.float32), np.zeros((3, line), np.uint8)
        for n in range(len(x)):
            usual: Any = True
            for y in range(height):
                row = x[n, y]
                for start in range(0, len(row), block):
                    part, made = row[start : start + block], normal[start : start + block]
                    for i in range(len(part)):
                        value = part[i]
                        value = floor if value < floor else value
                        rectified[i] = value
                        squares[i + half] = value * value
                        usual &= value * value <= LARGEST
                    for i in range(len(part)):
                        total = squares[i + half]
                        for j in range(half):
                            total += masks[j, i] * squares[i + j]
                            total += masks[half + j, i] * squares[i + half + 1 + j]
                        root = np.float32(1.0) / np.sqrt(k + scale * total)
                        made[i] = rectified[i] * (root * np.sqrt(root))
                at = 2 if y and y % 2 == 0 else y % 2
                place_0, place_1, place_2 = np.uint8(3 * at), np.uint8(3 * at + 1), np.uint8(3 * at + 2)
                for window in range(line // maps):
                    here = window * maps
                    largest, place = best[at, here : here + maps], where[at, here : here + maps]
                    left = normal[2 * here : 2 * here + maps]
                    middle = normal[2 * here + maps : 2 * here + 2 * maps]
                    right = normal[2 * here + 2 * maps : 2 * here + 3 * maps]
                    for i in range(maps):
                        a, b, c = left[i], middle[i], right[i]
                        place_ab = place_1 if b > a else place_0
                        ab = b if b > a else a
                        place[i] = place_2 if c > ab else place_ab
                        largest[i] = c if c > ab else ab
                if y == height - 1 and at == 1:  # the last window has two rows
                    best[2, :] = low
                    at = 2
                    window = y // 2
                else:
                    window = y // 2 - 1
                if at == 2 and window < out.shape[1]:
                    made, chosen = out[n, window], places[n, window]
                    top, middle, bottom = best[0], best[1], best[2]
                    top_place, middle_place, bottom_place = where[0], where[1], where[2]
                    for i in range(line):
                        a, b, c = top[i], middle[i], bottom[i]
                        p, q, r = top_place[i], middle_place[i], bottom_place[i]
                        place_ab = q if b > a else p
                        ab = b if b > a else a
                        chosen[i] = r if c > ab else place_ab
                        made[i] = c if c > ab else ab
                        top[i] = c  # the next window's first row
                        top_place[i] = r - np.uint8(6)
            if not usual:
                extreme[n, 0, 0] = 1

    return forward


def _backward(half: int) -> Kernel:
    def backward(
        x: Floats,
        grad: Floats,
        places: Bytes,
        masks: Floats,
        scale: np.float32,
        k: np.float32,
        floor: np.float32,
        maps: int,
        factor: np.float32,
        out: Floats,
        extreme: Bytes,
    ) -> None:
        """grad, places: as `forward`'s out and places. factor: as in lrn_kernels_across.py.
        out: the gradient with respect to x.
        """
        height, width, line = x.shape[1], x.shape[2] // maps, grad.shape[2]
        block, zero = masks.shape[1], np.float32(0.0)
        counts = ((width + 1) // 2 * maps, width // 2 * maps)
        rectified, above = np.zeros(block, np.float32), np.zeros(counts[0], np.float32)
        whole = np.zeros(x.shape[2], np.float32)
        squares, shared = np.zeros(block + 2 * half, np.float32), np.zeros(block + 2 * half, np.float32)
        # two rows of windows, with no window at the left and the right
        grads = np.zeros((2, max(counts[0], line) + maps), np.float32)
        where = np.zeros(grads.shape, np.uint8)
        for n in range(len(x)):
            usual: Any = True
            where[:] = NO_WINDOW
            for y in range(height):
                row, done = x[n, y], out[n, y]
                window = y // 2
                now, before = window % 2, 1 - window % 2
                g, p, g_left, p_left = grads[now, maps:], where[now, maps:], grads[now], where[now]
                up, q, up_left, q_left = (
                    grads[before, maps:],
                    where[before, maps:],
                    grads[before],
                    where[before],
                )
                if y % 2 == 0:
                    if window < grad.shape[1]:
                        given, chosen = grad[n, window], places[n, window]
                        for i in range(line):  # as slices the pass takes 20 % longer
                            g[i] = given[i]
                            p[i] = chosen[i]
                    else:
                        p[:line] = NO_WINDOW
                for odd_ones in range(2):
                    count = counts[odd_ones]
                    # a window's places are 0 1 2, 3 4 5, 6 7 8; torch adds in the order of the windows
                    here, here_before = np.uint8(3 * (y % 2) + odd_ones), np.uint8(6 + odd_ones)
                    left, left_before = np.uint8(3 * (y % 2) + 2), np.uint8(8)
                    if odd_ones:
                        left, left_before = np.uint8(NO_PLACE), np.uint8(NO_PLACE)
                    if y % 2:
                        for i in range(count):
                            above[i] = zero
                    else:
                        for i in range(count):
                            first = up_left[i] if q_left[i] == left_before else zero
                            above[i] = zero + first + (up[i] if q[i] == here_before else zero)
                    for i in range(count):
                        first = g_left[i] if p_left[i] == left else zero
                        above[i] = above[i] + first + (g[i] if p[i] == here else zero)
                    for pixel in range(count // maps):
                        to, from_here = (2 * pixel + odd_ones) * maps, pixel * maps
                        source, target = above[from_here : from_here + maps], whole[to : to + maps]
                        for i in range(maps):
                            target[i] = source[i]
                for start in range(0, len(row), block):
                    part, passed = row[start : start + block], whole[start : start + block]
                    made = done[start : start + block]
                    for i in range(len(part)):
                        value = part[i]
                        value = floor if value < floor else value
                        rectified[i] = value
                        squares[i + half] = value * value
                        usual &= value * value <= LARGEST
                    for i in range(len(part)):
                        total = squares[i + half]
                        for j in range(half):
                            total += masks[j, i] * squares[i + j]
                            total += masks[half + j, i] * squares[i + half + 1 + j]
                        base = k + scale * total
                        root = np.float32(1.0) / np.sqrt(base)
                        direct = root * np.sqrt(root) * passed[i]
                        made[i] = direct
                        product = direct * rectified[i] * (root * root)
                        shared[i + half] = product
                        usual &= (abs(product) <= LARGEST) & ((direct != zero) | (passed[i] == zero))
                    for i in range(len(part)):
                        total = shared[i + half]
                        for j in range(half):
                            total += masks[j, i] * shared[i + j]
                            total += masks[half + j, i] * shared[i + half + 1 + j]
                        value = made[i] + factor * rectified[i] * total
                        made[i] = zero if rectified[i] <= floor else value
            if not usual:
                extreme[n, 0, 0] = 1

    return backward
