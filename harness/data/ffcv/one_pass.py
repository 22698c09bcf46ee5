"""Writes a .beton file while its source is read for the first time, and goes on after a kill.

<name>.beton.part has the images; <name>.beton.groups/ has one file for each GROUP of them, written
after their bytes are synced. So a killed preparation has lost at most one group. Going on, each kept
group's bytes are compared with its checksum. The file becomes a .beton once all images are known to be
good: the tables and the header are written then.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.data.ffcv.encode import chunks, in_order
from harness.data.ffcv.write import Tables
from harness.data.prepare.manifest import BadImage, StoreSettings, data_file, disk_errors, versions
from harness.data.prepare.parts import (
    DAMAGED,
    Examine,
    Examined,
    Group,
    data_of,
    groups_of,
    remove_parts,
)
from harness.data.prepare.scan import Scanned
from harness.data.prepare.statistics import Moments
from harness.data.progress import Progress
from harness.data.sources.base import ImageDataset

CHUNK = 32  # images that a worker makes at a time: 6 MB of raw 256x256, and 1.5 MB of sums
GROUP = 1024  # 200 MB of them, 10 s of one core


class OnePass:
    """The .beton file of one split. stamp: of the source's files; what was kept of others is not used.

    settings.jpeg_quality: None stores raw images.
    """

    def __init__(self, path: Path, split: ImageDataset, settings: StoreSettings, stamp: str) -> None:
        self.path, self.data, self.groups = path, data_of(path), groups_of(path)
        self._split, self._side = split, settings.store_size
        self._quality = settings.jpeg_quality
        self._head = f"{stamp}\n{len(split)} {settings}\n{versions()}\n".encode()
        mode = "raw" if self._quality is None else "jpg"
        self._tables = Tables(len(split), mode, self._side, split.boxes is not None)
        self._done, self._bad, self._moments = 0, list[BadImage](), Moments(self._side)
        self._contents = hashlib.sha256()

    def write(self, workers: int, what: str, progress: Progress) -> Scanned:
        """Examine and store the images that are not stored yet.

        Bad ones are left out and named in the result.
        """
        try:
            with disk_errors(self.data), self._opened() as file:
                self._go_on(file)
                progress(what, self._done, len(self._split))
                todo = chunks(self._done, len(self._split), CHUNK)
                pending = list[Examined]()
                for examined in in_order(
                    todo, Examine(self._split, self._side, self._quality), workers
                ):
                    pending.append(examined)
                    seen = sum(_images(one) for one in pending)
                    progress(what, self._done + seen, len(self._split))
                    if seen >= GROUP or self._done + seen == len(self._split):
                        self._commit(file, pending)
                        pending = []
        except BaseException:
            if self._done == 0:
                remove_parts(self.path)
            raise
        contents = "" if self._split.root is None else self._contents.hexdigest()
        return Scanned(self._bad, self._moments, contents)

    def finish(self) -> None:
        """Make it a whole .beton file of the good images.

        The groups stay until the manifest names the file.
        """
        with disk_errors(self.path):
            with self.data.open("r+b") as file:
                self._tables.save(file)
                file.flush()
                os.fsync(file.fileno())
            self.data.replace(self.path)

    def _opened(self) -> BinaryIO:
        head = self.groups / "head"
        if not head.exists() or head.read_bytes() != self._head:
            remove_parts(self.path)
            self.groups.mkdir(parents=True)
            with data_file(head) as file:
                file.write(self._head)
        elif not self.data.exists() and self.path.exists():
            # it was finished, and its process killed before the manifest was written
            self.path.replace(self.data)
        self.data.touch()
        return self.data.open("r+b")

    def _go_on(self, file: BinaryIO) -> None:
        """Take up the groups that are whole, in order; remove the others."""
        for path in sorted(self.groups.glob("*.npz")):
            group = self._whole_group(file, path)
            if group is None:
                path.unlink()
            else:
                self._take(group)
        file.truncate(self._tables.end)

    def _whole_group(self, file: BinaryIO, path: Path) -> Group | None:
        try:
            group = Group.load(path)
        except DAMAGED:
            return None
        if group.first != self._done:
            return None
        found = hashlib.sha256()
        for at, size in self._tables.following(group.sizes.tolist()):
            file.seek(at)
            found.update(file.read(size))
        return group if found.digest() == group.checksum else None

    def _commit(self, file: BinaryIO, pending: list[Examined]) -> None:
        """Write the images, sync them, and only then what is known of them."""
        pixels = [one for examined in pending for one in examined.pixels]
        sizes, checksum = [len(one) for one in pixels], hashlib.sha256()
        for (at, _), one in zip(self._tables.following(sizes), pixels, strict=True):
            file.seek(at)
            file.write(one)
            checksum.update(one)
        file.flush()
        os.fsync(file.fileno())
        moments = Moments(self._side)
        moments.merge(self._moments)
        for examined in pending:
            moments.merge(examined.part.moments)
        group = Group(
            first=self._done,
            stop=self._done + sum(_images(one) for one in pending),
            sizes=np.array(sizes, dtype=np.int64),
            boxes=_boxes(pending),
            digests=b"".join(one.part.digests for one in pending),
            bad=[image for one in pending for image in one.part.bad],
            moments=moments,
            checksum=checksum.digest(),
        )
        group.save(self.groups / f"{group.first:010d}.npz")
        self._take(group)

    def _take(self, group: Group) -> None:
        bad = {image.index for image in group.bad}
        good = (index for index in range(group.first, group.stop) if index not in bad)
        for number, (index, size) in enumerate(zip(good, group.sizes.tolist(), strict=True)):
            place = self._tables.images
            self._tables.place(place, size)
            box = group.boxes[number] if len(group.boxes) else None
            self._tables.describe(place, int(self._split.labels[index]), box)
        self._bad += group.bad
        self._moments, self._done = group.moments, group.stop
        self._contents.update(group.digests)


def _images(examined: Examined) -> int:
    return examined.part.moments.count + len(examined.part.bad)


def _boxes(pending: list[Examined]) -> NDArray[np.float32]:
    found = [box for one in pending for box in one.boxes if box is not None]
    return np.array(found, dtype=np.float32).reshape(-1, 4)
