"""Image files from outside: only known formats are decoded, only regular files are read, and memory stays bounded."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data.base import Prepared
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.resize import DECODE_ERRORS, FORMATS, open_rgb, resize_and_centre_crop
from harness.errors import DataError

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def drawn(mode: str = "RGB", size: tuple[int, int] = (20, 24)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for place in ("train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png"):
        (tmp_path / "images" / place).parent.mkdir(parents=True, exist_ok=True)
        drawn().save(tmp_path / "images" / place)
    return tmp_path / "images"


def prepared(tree: Path, *, skip: bool = False) -> Prepared:
    return prepare(
        "folder", StoreSettings(store_size=16), path=tree, loader="folder", cache=tree.parent / "cache", workers=1,
        skip_bad_images=skip,
    )  # fmt: skip


def test_postscript_named_as_a_photo_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *given, **_: started.append(given))
    (tmp_path / "photo.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(DECODE_ERRORS):
        open_rgb(tmp_path / "photo.jpg")
    assert started == []


@pytest.mark.parametrize("name", FORMATS)
def test_every_listed_format_is_decoded_whatever_the_name(tmp_path: Path, name: str) -> None:
    drawn("P" if name == "GIF" else "RGB").save(tmp_path / "image.jpg", format=name)
    assert open_rgb(tmp_path / "image.jpg").size == (20, 24)


@pytest.mark.parametrize("name", ["ICO", "TGA", "PCX", "PDF", "JPEG2000"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    drawn().save(tmp_path / "image.png", format=name)
    with pytest.raises(DECODE_ERRORS):
        open_rgb(tmp_path / "image.png")


def test_a_fifo_is_named_as_no_regular_file_and_nothing_waits(tree: Path) -> None:
    os.mkfifo(tree / "train/a/pipe.png")
    with pytest.raises(DataError, match=r"1 of 5 files .*pipe\.png \(not a regular file\)"):
        prepared(tree)
    assert prepared(tree, skip=True).spec.train_images == 2


def test_a_link_to_a_device_is_named_as_no_regular_file(tree: Path) -> None:
    (tree / "train/a/zero.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"zero\.png \(not a regular file\)"):
        prepared(tree)


@pytest.mark.parametrize("target", ["nowhere.png", "link.png"])
def test_a_dangling_link_is_named_with_the_exit_code_of_data(tree: Path, target: str) -> None:
    """link.png -> link.png is a loop."""
    (tree / "train/a/link.png").symlink_to(target)
    with pytest.raises(DataError, match=r"1 of 5 files .*train/a/link\.png \(") as refused:
        prepared(tree)
    assert refused.value.exit_code == 3
    assert prepared(tree, skip=True).spec.train_images == 2


def save_16_bit(path: Path) -> None:
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100).save(path)


def save_float(path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)).save(path)


def save_32_bit(path: Path) -> None:
    Image.fromarray(np.arange(400, dtype=np.int32).reshape(20, 20) * 100).save(path)


@pytest.mark.parametrize(
    ("save", "name"), [(save_16_bit, "grey.png"), (save_float, "grey.tiff"), (save_32_bit, "grey.tiff")]
)
def test_pixels_that_8_bits_would_clip_are_refused_in_a_sentence(
    tree: Path, save: object, name: str
) -> None:
    save(tree / "train/a" / name)  # type: ignore[operator]
    with pytest.raises(
        DataError, match=r"grey\.\w+ \(pixels of more than 8 bits .*; convert it to 8 bits\)"
    ):
        prepared(tree)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    )


def long_png(width: int, height: int) -> bytes:
    """A grey PNG of one value, small on disk."""
    rows = zlib.compress(bytes((width + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


LIMITED = """
import resource, sys
from pathlib import Path
import numpy
from harness.data.resize import open_rgb, resize_and_centre_crop
image = open_rgb(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(resize_and_centre_crop(image, 256).shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1)])
def test_a_very_long_image_takes_little_memory(tmp_path: Path, shape: tuple[int, int]) -> None:
    (tmp_path / "long.png").write_bytes(long_png(*shape))
    limit = 4 << 30  # of addresses: the resized whole would take 7 GB
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "long.png")], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-300:]
    shown, mib = done.stdout.rsplit(" ", 1)
    assert shown == "(256, 256, 3)"
    assert int(mib) < 100


def test_the_centre_of_a_very_long_image_is_stored() -> None:
    pixels = np.zeros((2, 3000, 3), dtype=np.uint8)
    pixels[:, 1480:1520] = 200
    assert (resize_and_centre_crop(pixels, 8) == 200).all()
    assert (resize_and_centre_crop(pixels.transpose(1, 0, 2), 8) == 200).all()


def test_an_image_of_too_many_pixels_is_a_bad_file_before_it_is_decoded(tree: Path) -> None:
    """200 million pixels in 200 kB."""
    (tree / "train/a/huge.png").write_bytes(long_png(20_000, 10_000))
    with pytest.raises(DataError, match=r"huge\.png \(.*(pixels|decompression bomb)"):
        prepared(tree)


def test_a_file_of_too_many_bytes_is_a_bad_file_before_it_is_read(tree: Path) -> None:
    with (tree / "train/a/sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"sparse\.png \(1024\.0 GiB, more than any image"):
        prepared(tree)


def whole(name: str) -> bytes:
    buffer = io.BytesIO()
    drawn("P" if name == "GIF" else "RGB").save(buffer, format=name)
    return buffer.getvalue()


WHOLE = {name: whole(name) for name in FORMATS}


@pytest.mark.filterwarnings("ignore")  # PIL warns of some damage
@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(FORMATS),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6
    ),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_images_are_decoded_or_refused_and_nothing_else(
    tmp_path: Path, name: str, edits: list[tuple[float, bytes]], kept: float
) -> None:
    content = bytearray(WHOLE[name])
    for place, new in edits:
        at = int(place * len(content))
        content[at : at + len(new)] = new
    file = tmp_path / "image"
    file.write_bytes(content[: int(kept * len(content))])
    try:
        stored = resize_and_centre_crop(open_rgb(file), 8)
    except DECODE_ERRORS:
        return
    assert stored.shape == (8, 8, 3)
    assert stored.dtype == np.uint8
