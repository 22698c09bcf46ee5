"""Writing .beton files (FFCV's format, version 2) that any FFCV reads, and telling whole ones from torn ones.

The worker processes make the images; this process alone lays them out, in order. So the same images give the same
bytes whatever the workers, and a worker that dies is an error: stock FFCV's writer waits for it for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.base import Progress, silent
from harness.data.ffcv_encode import Encoded, Item, encoded
from harness.data.ffcv_quiet import IMAGE_MODES, FloatField, IntField, Reader, RGBImageField, layout
from harness.errors import DataError

BOX_FIELDS = ("box_x", "box_y", "box_width", "box_height")
PAGE = 1 << 23  # bytes; FFCV's own default. No image crosses a page.
HEADER = layout.HeaderType


def write_beton(
    path: Path,
    n: int,
    item: Item,
    *,
    side: int,
    store_format: Literal["raw", "jpeg"] = "raw",
    jpeg_quality: int | None = None,
    boxes: bool = False,
    workers: int = 1,
    progress: Progress = silent,
    name: Callable[[int], str] = "image {}".format,
) -> None:
    """Write item(0) .. item(n - 1) to `path`: under a temporary name beside it, synced, then renamed.

    item: gives (RGB square, uint8 (side, side, 3); label; box or None), picklable where workers > 1 (processes; 1
    writes in this one). box: x, y, width, height as shares of the square. jpeg_quality: 1-95, for "jpeg".
    name: what to call image i in an error. Raises DataError, and leaves neither file nor temporary file, where an item
    fails (a HarnessError of its own passes through), a worker dies or the disk is full.
    """
    quality = jpeg_quality if store_format == "jpeg" else None
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            images = encoded(n, item, side, quality, workers, name)
            _write(file, n, images, side, store_format, boxes, progress, f"writing {path.name}")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_beton(path: Path, images: int, *, boxes: bool = False) -> str | None:
    """What is wrong with the file, as the end of a sentence that starts with its name; None where it is whole.

    Reads the header and the two tables, not the images: 60 ms for a million. Truncated, torn and foreign files and
    ones of other contents are told; a flipped bit inside an image is not.
    """
    try:
        size = path.stat().st_size
        header = np.fromfile(path, dtype=HEADER, count=1)
    except OSError as error:
        return f"can't be read ({error.strerror})"
    fields = 2 + (len(BOX_FIELDS) if boxes else 0)
    if not len(header) or header["version"][0] != layout.CURRENT_VERSION or header["num_fields"][0] != fields:
        return "is not a .beton file written by this project"
    if header["num_samples"][0] != images:
        return f"holds {header['num_samples'][0]} images, not {images}"
    if header["alloc_table_ptr"][0] + images * layout.ALLOC_TABLE_TYPE.itemsize != size:
        return "is cut short or was never finished"
    return _table_fault(path, boxes)


def _table_fault(path: Path, boxes: bool) -> str | None:
    """Whether the tables say of every image what they should: fields, one size, one mode, a place inside the file."""
    try:
        reader = Reader(str(path))
    except (KeyError, ValueError, AssertionError, UnicodeDecodeError):
        return "is not a .beton file written by this project"
    if tuple(reader.field_names) != ("image", "label", *(BOX_FIELDS if boxes else ())):
        return "is not a .beton file written by this project"
    table, places = reader.metadata["f0"], reader.alloc_table
    side = table["width"][:1]
    alike = (table["width"] == side) & (table["height"] == side) & (table["mode"] == table["mode"][:1])
    inside = places["ptr"] + places["size"] <= reader.header["alloc_table_ptr"]
    known = table["data_ptr"] == places["ptr"]
    raw = (table["mode"] != IMAGE_MODES["raw"]) | (places["size"] == 3 * side.astype(np.uint64) ** 2)
    return None if (alike & inside & known & raw).all() else "has a damaged table of images"


def _write(
    file: IO[bytes],
    n: int,
    images: Iterator[Encoded],
    side: int,
    store_format: str,
    boxes: bool,
    progress: Progress,
    what: str,
) -> None:
    """Header, fields, table of images, pages of images, table of places; the header is true only at the end."""
    fields = {"image": RGBImageField(), "label": IntField()} | {name: FloatField() for name in _box_fields(boxes)}
    table = np.zeros(n, dtype=layout.get_metadata_type(list(fields.values())))
    places = np.zeros(n, dtype=layout.ALLOC_TABLE_TYPE)
    names = _descriptors(fields)
    at = _next_page(HEADER.itemsize + names.nbytes + table.nbytes)
    file.write(_header(0, n, len(fields)) + names.tobytes() + table.tobytes())
    for index, (pixels, label, box) in enumerate(images):
        if at % PAGE + len(pixels) > PAGE:
            at = _next_page(at)
        file.seek(at)
        file.write(pixels)
        places[index] = (index, at, len(pixels))
        table["f0"][index] = (IMAGE_MODES["jpg" if store_format == "jpeg" else "raw"], side, side, at)
        table["f1"][index] = label
        for field, share in enumerate(box if box is not None and boxes else ()):
            table[f"f{field + 2}"][index] = share
        at += len(pixels)
        progress(what, index + 1, n)
    end = _next_page(at)  # FFCV reads whole pages
    file.seek(end)
    file.write(places.tobytes())
    file.seek(0)
    file.write(_header(end, n, len(fields)) + names.tobytes() + table.tobytes())


def _box_fields(boxes: bool) -> tuple[str, ...]:
    return BOX_FIELDS if boxes else ()


def _header(table_of_places: int, n: int, fields: int) -> bytes:
    header = np.zeros(1, dtype=HEADER)
    header["version"], header["num_fields"], header["page_size"] = layout.CURRENT_VERSION, fields, PAGE
    header["num_samples"], header["alloc_table_ptr"] = n, table_of_places
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
