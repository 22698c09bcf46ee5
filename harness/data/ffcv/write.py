"""Writes .beton files (FFCV's format, version 2), which every FFCV can read, and checks that a file is
complete.

Worker processes make the images; only this process writes them, in order. So the same images give the
same bytes with any number of workers. A worker that dies is an error, while FFCV's writer would wait
for it forever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.data.ffcv.encode import Box, Item, encoded
from harness.data.ffcv.library import IMAGE_MODES, FloatField, IntField, Reader, RGBImageField, layout
from harness.data.names import JPEG_QUALITY
from harness.data.page_order import PAGE
from harness.data.prepare.manifest import StoreSettings, data_file
from harness.data.progress import Progress, silent

BOX_FIELDS = ("box_x", "box_y", "box_width", "box_height")
HEADER = layout.HeaderType


def write_beton(
    path: Path,
    n: int,
    item: Item,
    settings: StoreSettings,
    *,
    boxes: bool = False,
    workers: int = 1,
    progress: Progress = silent,
    name: Callable[[int], str] = "image {}".format,
) -> None:
    """Write item(0) .. item(n - 1) to `path`, atomically.

    item: gives (RGB image, uint8 (store_size, store_size, 3); label; box or None), picklable where
    workers > 1 (processes; 1 writes in this one). box: x, y, width, height as fractions of the image.
    name: what to call image i in an error. settings.jpeg_quality: JPEG_QUALITY if left out.

    Raises DataError, and leaves neither file nor temporary file, where an item fails (a HarnessError of
    its own passes through), a worker dies or the disk is full.
    """
    jpeg, side = settings.store_format == "jpeg", settings.store_size
    quality = (settings.jpeg_quality or JPEG_QUALITY) if jpeg else None
    tables = Tables(n, "jpg" if jpeg else "raw", side, boxes)
    with data_file(path) as file:
        for index, (pixels, label, box) in enumerate(encoded(n, item, side, quality, workers, name)):
            file.seek(tables.place(index, len(pixels)))
            file.write(pixels)
            tables.describe(index, label, box)
            progress(f"writing {path.name}", index + 1, n)
        tables.save(file)


def check_beton(path: Path, images: int, *, boxes: bool = False) -> str | None:
    """What is wrong with the file, as the end of a sentence that starts with its name; None where it is
    whole.

    Reads the header and the two tables, not the images: 40 ms for a million. Truncated, torn and
    foreign files and ones of other contents are found; a flipped bit inside an image is not.
    """
    described = _descriptors(_fields(boxes))
    try:
        with path.open("rb") as file:
            start = file.read(HEADER.itemsize + described.nbytes)
        size = path.stat().st_size
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if start[HEADER.itemsize :] != described.tobytes():
        return "is no .beton file of this project"
    header = np.frombuffer(start, dtype=HEADER, count=1)[0]
    places, held = int(header["alloc_table_ptr"]), int(header["num_samples"])
    if places + held * layout.ALLOC_TABLE_TYPE.itemsize != size:
        return "is cut short or was never finished"
    if held != images:
        return f"holds {held} images, not {images}"
    if start[: HEADER.itemsize] != _header(places, images, len(described)):
        return "holds other fields, or is of another version of FFCV"
    return _table_fault(path)


def _table_fault(path: Path) -> str | None:
    """Whether the tables say of every image what they should: one size, one mode, a place inside the
    file.
    """
    reader = Reader(str(path))
    table, places = reader.metadata["f0"], reader.alloc_table
    side = table["width"][:1].astype(np.uint64)
    alike = (table["width"] == side) & (table["height"] == side) & (table["mode"] == table["mode"][:1])
    inside = places["ptr"] + places["size"] <= reader.header["alloc_table_ptr"]
    known = table["data_ptr"] == places["ptr"]
    raw = (table["mode"] != IMAGE_MODES["raw"]) | (places["size"] == 3 * side**2)
    return None if (alike & inside & known & raw).all() else "has a damaged table of images"


class Tables:
    """What a .beton file says of its images: header, fields, a row an image before them, a place an
    image after.

    n: the most images there may be; the first one's place follows from it. images: how many have a
    place.
    end: where the last one ends, an offset in bytes.
    """

    def __init__(self, n: int, mode: str, side: int, boxes: bool) -> None:
        fields = _fields(boxes)
        self._image, self._described = (IMAGE_MODES[mode], side, side), _descriptors(fields)
        self._rows = np.zeros(n, dtype=layout.get_metadata_type(list(fields.values())))
        self._places = np.zeros(n, dtype=layout.ALLOC_TABLE_TYPE)
        self.images = 0
        self.end = HEADER.itemsize + self._described.nbytes + self._rows.nbytes

    def place(self, index: int, size: int) -> int:
        """Where the next image goes, an offset in bytes: right behind the one before, but never
        across two pages.
        """
        self.images = index + 1
        at = self._next(self.end, size, first=index == 0)
        self._places[index] = (index, at, size)
        self._rows["f0"][index] = (*self._image, at)
        self.end = at + size
        return at

    def following(self, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Place and size of the next images, of these sizes, before they have their places."""
        end, first = self.end, self.images == 0
        for size in sizes:
            at = self._next(end, size, first)
            end, first = at + size, False
            yield at, size

    @staticmethod
    def _next(end: int, size: int, first: bool) -> int:
        return end if not first and end % PAGE + size <= PAGE else _next_page(end)

    def describe(self, index: int, label: int, box: Box) -> None:
        """The image's label and box."""
        self._rows["f1"][index] = label
        if len(self._rows.dtype) > 2:
            assert box is not None, "a data set with boxes has one an image"
            for field, fraction in enumerate(box, start=2):
                self._rows[f"f{field}"][index] = fraction

    def save(self, file: IO[bytes]) -> None:
        """Behind the last page the places, and the header last: it is what makes the file whole."""
        end = _next_page(self.end)  # FFCV reads whole pages
        file.seek(end)
        file.write(self._places[: self.images].tobytes())
        file.seek(0)
        rows = self._rows[: self.images]
        file.write(
            _header(end, self.images, len(self._described)) + self._described.tobytes() + rows.tobytes()
        )


def _fields(boxes: bool) -> dict[str, Any]:
    numbers = {name: FloatField() for name in (BOX_FIELDS if boxes else ())}
    return {"image": RGBImageField(), "label": IntField(), **numbers}


def _header(places: int, n: int, fields: int) -> bytes:
    header = np.zeros(1, dtype=HEADER)
    header["version"], header["num_fields"], header["page_size"] = layout.CURRENT_VERSION, fields, PAGE
    header["num_samples"], header["alloc_table_ptr"] = n, places
    return header.tobytes()


def _descriptors(fields: dict[str, Any]) -> NDArray[Any]:
    """Each field's type and name, as FFCV describes them in the file."""
    numbers = {kind: number for number, kind in layout.TYPE_ID_HANDLER.items()}
    described = np.zeros(len(fields), dtype=layout.FieldDescType)
    for entry, (name, field) in zip(described, fields.items(), strict=True):
        entry["type_id"] = numbers[type(field)]
        entry["name"][: len(name)] = np.frombuffer(name.encode("ascii"), dtype=np.uint8)
    return described


def _next_page(at: int) -> int:
    return -(-at // PAGE) * PAGE
