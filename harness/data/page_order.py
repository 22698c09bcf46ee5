"""The order of an epoch for files larger than memory: images are mixed within groups of pages.

A page is a run of consecutive images, as many as FFCV stores raw in one of its pages. A random order
reads a page of the disk for each image; here all images of a group's pages come before those of the
next group, so that each page is read once per epoch, and ahead of its use (ffcv/read_ahead.py). As in
FFCV's QuasiRandom order, only images of one group meet in a batch, but for batches between two groups.

Files are often sorted by class, and one page then has one class. So the pages of a group are spread
over the file: it is divided into parts of as many pages as there are groups, and each group has one
page of each part, at random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.augment.counter_rng import ORDER, hash_keys, stream_base
from variants.values import value

Ints = NDArray[np.int64]
PAGE = 1 << 23  # bytes; FFCV's own default. No image crosses a page.
GROUP_PAGES = 1024  # 8 GiB; the group in use and the one read ahead take twice that


@value
class Pages:
    """images: of a page. together: the most pages in a group."""

    images: int
    together: int = GROUP_PAGES

    def count(self, images: int) -> int:
        """The pages of a split of so many images; the last one may have fewer."""
        return -(-images // self.images)


def raw_pages(side: int) -> Pages:
    """The pages of raw images of side x side pixels.

    Images stored as JPEG are smaller, and images that are read from files lie in no page. They come in
    the same order, since a run must not depend on its loader.
    """
    return Pages(images=max(1, PAGE // (3 * side * side)))


def groups_of_pages(seed: int, epoch: int, count: int, together: int) -> Ints:
    """The group of each page, 0 to the number of groups - 1: int64, (count,)."""
    groups = -(-count // together)
    slots = np.arange(-(-count // groups) * groups)  # the last part may have slots without a page
    keys = hash_keys(stream_base(seed, epoch, ORDER, 1), slots).reshape(-1, groups)
    group = np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1)
    return group.reshape(-1)[:count].astype(np.int64)


def page_sequence(seed: int, epoch: int, images: int, pages: Pages) -> Ints:
    """All pages of a split, group after group: int64, (pages,)."""
    group = groups_of_pages(seed, epoch, pages.count(images), pages.together)
    return np.argsort(group, kind="stable").astype(np.int64)


def page_order(seed: int, epoch: int, images: int, pages: Pages) -> Ints:
    """The images of a split in the order of this epoch: a permutation of 0..images-1, int64.

    Where one group holds all pages, it is that of counter_rng.epoch_order.
    """
    group = groups_of_pages(seed, epoch, pages.count(images), pages.together)
    numbers = np.arange(images)
    keys = hash_keys(stream_base(seed, epoch, ORDER), numbers)
    return np.lexsort((keys, group[numbers // pages.images])).astype(np.int64)
