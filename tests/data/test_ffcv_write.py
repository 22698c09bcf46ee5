""".beton files: whole or absent, the same bytes whatever the workers, readable by stock FFCV, torn ones told.

Skipped where FFCV can't be installed (not Linux, no compiler): there is nothing to write for then.
"""

import errno
import resource

import numpy as np
import pytest

pytest.importorskip("ffcv")

import beton_items as items

from harness.data.ffcv.library import Loader as StockLoader
from harness.data.ffcv.library import Reader, layout
from harness.data.ffcv.write import PAGE, check_beton, write_beton
from harness.data.prepare.manifest import StoreSettings
from harness.errors import DataError, HarnessError

N = 40


@pytest.fixture
def beton(tmp_path):
    path = tmp_path / "train.beton"
    write_beton(path, N, items.noise_item, StoreSettings(store_size=items.SIDE))
    return path


def test_a_written_file_is_found_whole_and_leaves_nothing_beside_it(beton):
    assert check_beton(beton, N) is None
    assert [path.name for path in beton.parent.iterdir()] == ["train.beton"]


def test_several_processes_write_the_same_bytes_as_one(beton, tmp_path):
    write_beton(
        tmp_path / "two.beton", N, items.noise_item, StoreSettings(store_size=items.SIDE), workers=2
    )
    assert (tmp_path / "two.beton").read_bytes() == beton.read_bytes()


@pytest.mark.parametrize("os_cache", [True, False])
def test_stock_ffcv_reads_every_pixel_and_label(beton, os_cache):
    stock = StockLoader(str(beton), batch_size=16, num_workers=1, os_cache=os_cache, drop_last=False)
    images, labels = zip(*[(i.clone(), label.clone()) for i, label in stock], strict=True)
    assert (np.concatenate(images) == np.stack([items.square(i) for i in range(N)])).all()
    assert np.concatenate(labels).ravel().tolist() == [i % 3 for i in range(N)]


def test_no_image_crosses_a_page(tmp_path):
    side = 1000  # 3 MB: two fit a page
    write_beton(
        tmp_path / "big.beton",
        5,
        lambda i: (items.square(i, side), 0, None),
        StoreSettings(store_size=side),
    )
    places = Reader(str(tmp_path / "big.beton")).alloc_table
    assert (places["ptr"] // PAGE == (places["ptr"] + places["size"] - 1) // PAGE).all()
    assert check_beton(tmp_path / "big.beton", 5) is None


def test_boxes_are_stored_with_their_images(tmp_path):
    write_beton(
        tmp_path / "boxes.beton", 5, items.boxed_item, StoreSettings(store_size=items.SIDE), boxes=True
    )
    table = Reader(str(tmp_path / "boxes.beton")).metadata
    assert table["f2"].astype(np.float32).tolist() == [np.float32(i / 100) for i in range(5)]
    assert check_beton(tmp_path / "boxes.beton", 5, boxes=True) is None
    assert (
        check_beton(tmp_path / "boxes.beton", 5)
        == "holds other fields, or is of another version of FFCV"
    )


def test_progress_counts_to_the_end(tmp_path):
    told = []
    write_beton(
        tmp_path / "a.beton",
        3,
        items.noise_item,
        StoreSettings(store_size=12),
        progress=lambda *line: told.append(line),
    )
    assert told == [("writing a.beton", done, 3) for done in (1, 2, 3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_fails_is_named_and_no_file_is_left(tmp_path, workers):
    with pytest.raises(DataError, match=r"n02.JPEG can't be stored: ValueError: a torn photo"):
        write_beton(
            tmp_path / "a.beton",
            N,
            items.third_fails,
            StoreSettings(store_size=12),
            workers=workers,
            name="n{:02}.JPEG".format,
        )
    assert not list(tmp_path.iterdir())


def test_an_item_of_the_wrong_size_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"image 0 can't be stored: .*\(13, 13, 3\)"):
        write_beton(tmp_path / "a.beton", 1, items.noise_item, StoreSettings(store_size=13))


def test_a_killed_worker_is_an_error_and_not_a_wait_for_ever(tmp_path):
    with pytest.raises(DataError, match="was killed"):
        write_beton(
            tmp_path / "a.beton",
            N,
            items.third_is_killed,
            StoreSettings(store_size=items.SIDE),
            workers=2,
        )
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_more_is_one_sentence_and_no_file(tmp_path):
    """A limit on file size fails the write as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE // 2, hard))
    try:
        with pytest.raises(
            DataError, match=r"could not write .*a\.beton: files may not be so large here"
        ):
            write_beton(tmp_path / "a.beton", N, items.noise_item, StoreSettings(store_size=items.SIDE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.ENOSPC, "the disk is full; free some space"), (errno.EIO, r"the disk fails \(refused\)")],
)
def test_a_disk_that_is_full_or_fails_says_what_to_do(tmp_path, monkeypatch, number, why):
    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr("harness.files.os.fsync", refuse)
    with pytest.raises(DataError, match=rf"a\.beton: {why}.* point HARNESS_CACHE"):
        write_beton(tmp_path / "a.beton", 2, items.noise_item, StoreSettings(store_size=items.SIDE))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_keeps_the_old_file(beton):
    def interrupt(_what, done, _total):
        if done == 3:
            raise KeyboardInterrupt

    before = beton.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_beton(beton, N, items.smooth_item, StoreSettings(store_size=48), progress=interrupt)
    assert beton.read_bytes() == before
    assert [path.name for path in beton.parent.iterdir()] == ["train.beton"]


@pytest.mark.parametrize("size", [0, 1, 23, 24, 1000, 5000, PAGE, PAGE + 100, -1])
def test_a_file_cut_short_anywhere_is_told(beton, size):
    whole = beton.read_bytes()
    beton.write_bytes(whole[:size])
    assert check_beton(beton, N) in (
        "is cut short or was never finished",
        "is no .beton file of this project",
    )


def test_foreign_missing_and_other_files_are_told(beton, tmp_path):
    noise = tmp_path / "noise.beton"
    noise.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert check_beton(noise, N) == "is no .beton file of this project"
    assert check_beton(tmp_path / "none.beton", N) == "can't be read (No such file or directory)"
    assert check_beton(tmp_path, N) == "can't be read (Is a directory)"
    assert check_beton(beton, N + 1) == f"holds {N} images, not {N + 1}"


def test_a_file_of_another_version_is_told(beton):
    with beton.open("r+b") as file:
        file.write(bytes([layout.CURRENT_VERSION + 1]))
    assert check_beton(beton, N) == "holds other fields, or is of another version of FFCV"


def test_a_damaged_table_is_reported_before_it_is_used(beton):
    reader = Reader(str(beton))
    row = layout.HeaderType.itemsize + reader.field_descriptors.nbytes + 5 * reader.metadata.itemsize
    with beton.open("r+b") as file:
        file.seek(row + reader.metadata.dtype["f0"].fields["data_ptr"][1])
        file.write((1 << 50).to_bytes(8, "little"))
    assert check_beton(beton, N) == "has a damaged table of images"


def test_a_harness_error_from_an_item_passes_through(tmp_path):
    def bad(_i):
        raise HarnessError("said well already")

    with pytest.raises(HarnessError, match=r"^said well already$"):
        write_beton(tmp_path / "a.beton", 1, bad, StoreSettings(store_size=12))
