"""The FFCV loader against plain numpy, and stock FFCV's pitfalls, each shown not to be there.

Skipped where FFCV can't be installed (not Linux, no compiler): the folder loader does the work then.
"""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.data.ffcv import decoders
from harness.data.prepare.manifest import StoreSettings

pytest.importorskip("ffcv")

import beton_items as items

from harness.data.augment.counter_rng import draw_flips, draw_keys, draw_offsets, epoch_order
from harness.data.base import CropRule, LoaderChoice, LoaderSettings
from harness.data.ffcv.loader import FfcvLoader
from harness.data.ffcv.write import write_beton
from harness.errors import DataError, RunFailed

N, SIDE, CROP, SEED = 43, items.SIDE, 9, 5
RANDOM = CropRule(size=CROP, position="random", mirror=True)


@pytest.fixture(scope="module")
def beton(tmp_path_factory):
    path = tmp_path_factory.mktemp("beton") / "train.beton"
    write_beton(path, N, items.noise_item, StoreSettings(store_size=SIDE))
    return path


def make(path, **changes):
    other = {name: changes.pop(name) for name in ("boxes", "timeout_s") if name in changes}
    images = changes.pop("images", N)
    settings = LoaderSettings(batch_size=8, crop=RANDOM, seed=SEED, shuffle=True, workers=2)
    return FfcvLoader(path, replace(settings, **changes), images=images, reason="asked for", **other)


def load(loader, epoch=0):
    with loader.epoch(epoch) as batches:
        return list(batches)


def images_of(batches):
    return torch.cat([batch.images for batch in batches]).numpy()


def order_of(batches):
    return torch.cat([batch.indices for batch in batches]).tolist()


def expected(indices, epoch, rule):
    """What numpy makes of one batch, from the draws' definition."""
    keys = draw_keys(indices, rule.images_per_draw)
    ys, xs = draw_offsets(SEED, epoch, keys, SIDE - rule.size)
    flips = draw_flips(SEED, epoch, keys)
    made = []
    for i, y, x, flip in zip(indices, ys, xs, flips, strict=True):
        crop = items.square(i)[y : y + rule.size, x : x + rule.size]
        made.append((crop[:, ::-1] if flip else crop).transpose(2, 0, 1))
    return np.stack(made)


@pytest.mark.parametrize("images_per_draw", [1, 4])
def test_batches_equal_numpys_crops_and_mirrors_of_the_stored_squares(beton, images_per_draw):
    rule = CropRule(size=CROP, position="random", mirror=True, images_per_draw=images_per_draw)
    for epoch in (0, 3):
        batches = load(make(beton, crop=rule), epoch)
        assert order_of(batches) == epoch_order(SEED, epoch, N).tolist()
        for batch in batches:
            assert (batch.images.numpy() == expected(batch.indices.numpy(), epoch, rule)).all()
            assert batch.labels.tolist() == [i % 3 for i in batch.indices.tolist()]


def test_any_number_of_workers_gives_the_same_bits(beton):
    runs = [images_of(load(make(beton, workers=workers), 2)) for workers in (1, 2, 5, 64)]
    assert all((run == runs[0]).all() for run in runs)


def test_two_loaders_and_a_second_reading_of_an_epoch_give_the_same_bits(beton):
    loader = make(beton)
    first, other_epoch, again = (images_of(load(loader, epoch)) for epoch in (0, 1, 0))
    assert (first == again).all()
    assert (first == images_of(load(make(beton)))).all()
    assert (first != other_epoch).any()


@pytest.mark.parametrize(("batch_size", "sizes"), [(8, [8] * 5 + [3]), (1, [1] * N), (100, [N])])
def test_every_image_comes_once_in_batches_of_the_promised_shape(beton, batch_size, sizes):
    loader = make(beton, batch_size=batch_size)
    batches = load(loader)
    assert (loader.images, loader.batches) == (N, len(sizes))
    assert sorted(order_of(batches)) == list(range(N))
    assert [tuple(batch.images.shape) for batch in batches] == [(size, 3, CROP, CROP) for size in sizes]
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        assert batch.labels.shape == batch.indices.shape == (len(batch.images),)
        assert batch.boxes is None


def test_unshuffled_images_come_by_index_and_whole_squares_untouched(beton):
    batches = load(make(beton, shuffle=False, crop=CropRule()))
    assert order_of(batches) == list(range(N))
    assert (
        images_of(batches) == np.stack([items.square(i).transpose(2, 0, 1) for i in range(N)])
    ).all()


def test_a_centre_crop_is_the_centre(beton):
    batch = load(make(beton, shuffle=False, crop=CropRule(size=8)))[0]
    assert (batch.images[1].numpy() == items.square(1)[2:10, 2:10].transpose(2, 0, 1)).all()


def test_boxes_come_with_their_images(tmp_path):
    write_beton(tmp_path / "b.beton", 10, items.boxed_item, StoreSettings(store_size=SIDE), boxes=True)
    for batch in load(make(tmp_path / "b.beton", images=10, batch_size=4, boxes=True)):
        assert batch.boxes.dtype == torch.float32
        assert batch.boxes.tolist() == [items.boxed_item(i)[2].tolist() for i in batch.indices.tolist()]


def test_squares_stored_as_jpeg_come_out_close(tmp_path):
    """FFCV decodes with libjpeg's fast transform: at most 9 off another decoder; 12 with JPEG's own loss at 95."""
    write_beton(
        tmp_path / "j.beton",
        6,
        items.smooth_item,
        StoreSettings(store_size=48, store_format="jpeg", jpeg_quality=95),
    )
    batch = load(make(tmp_path / "j.beton", images=6, shuffle=False, crop=CropRule(size=40)))[0]
    kept = np.stack([items.smooth(i)[4:44, 4:44].transpose(2, 0, 1) for i in range(6)])
    assert np.abs(batch.images.numpy().astype(int) - kept).max() <= 12


def test_batches_are_owned_and_never_overwritten(beton):
    loader = make(beton, batch_size=2)
    with loader.epoch(0) as running:
        kept = [(batch, batch.images.clone()) for batch in running]
    load(loader, 1)
    assert all((batch.images == then).all() for batch, then in kept)
    assert len({batch.images.untyped_storage().data_ptr() for batch, _ in kept}) == len(kept)


@pytest.mark.parametrize("taken", [0, 1, 17, 22])
def test_leaving_an_epoch_early_ends_its_threads(beton, taken):
    loader = make(beton, batch_size=2)
    before = set(threading.enumerate())
    for epoch in range(3):
        with loader.epoch(epoch) as batches:
            for _ in range(taken):
                next(batches)
        assert set(threading.enumerate()) == before


def test_leaving_an_epoch_early_reads_no_further(tmp_path, monkeypatch):
    """One batch taken, three waiting in the queue, one in hand and one begun; 10 leaves room for the thread's luck."""
    cuts = []
    real = decoders.crop_planes
    monkeypatch.setattr(decoders, "crop_planes", lambda *given: (cuts.append(1), real(*given)))
    write_beton(tmp_path / "t.beton", 400, items.noise_item, StoreSettings(store_size=SIDE))
    with make(tmp_path / "t.beton", images=400, batch_size=1).epoch(0) as batches:
        next(batches)
    assert len(cuts) <= 10


def test_an_error_of_the_consumer_passes_and_ends_the_threads(beton):
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError), make(beton).epoch(0) as batches:
        1 / len(next(batches).images[:0])
    assert set(threading.enumerate()) == before


def test_a_second_epoch_at_once_is_refused(beton):
    loader = make(beton)
    with loader.epoch(0), pytest.raises(RuntimeError, match="still open"), loader.epoch(1):
        pass
    assert len(load(loader, 1)) == loader.batches


def test_an_exception_in_the_pipeline_is_raised_and_ends_its_threads(beton, monkeypatch):
    def broken(*_):
        raise ValueError("a broken page")

    before = set(threading.enumerate())
    monkeypatch.setattr(decoders, "crop_planes", broken)
    with pytest.raises(RunFailed, match=r"reading .*train.beton failed: a broken page"):
        load(make(beton))
    assert set(threading.enumerate()) == before


def test_a_thread_that_dies_silently_is_an_error_within_the_timeout(beton, monkeypatch):
    def die(*_):
        raise SystemExit

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    loader = make(beton)
    start = time.monotonic()
    monkeypatch.setattr("ffcv.loader.epoch_iterator.EpochIterator.run_pipeline", die)
    with pytest.raises(RunFailed, match="died"):
        load(loader)
    assert time.monotonic() - start < 5


def test_a_pipeline_that_hangs_is_an_error_after_the_timeout(beton, monkeypatch):
    freed = threading.Event()
    monkeypatch.setattr(decoders, "crop_planes", lambda *_: freed.wait(20))
    start = time.monotonic()
    try:
        with pytest.raises(RunFailed, match=r"no batch came from .* for 0.3 s"):
            load(make(beton, timeout_s=0.3))
        assert time.monotonic() - start < 5
    finally:
        freed.set()


def test_a_file_cut_short_between_two_batches_is_an_error_and_not_a_crash(tmp_path, monkeypatch):
    """Cut while a batch is copied, the process ends all the same (SIGBUS), so the test waits for a full queue first."""
    path, begun = tmp_path / "t.beton", []
    write_beton(path, 200, items.noise_item, StoreSettings(store_size=SIDE))
    real = decoders.crop_planes
    monkeypatch.setattr(
        decoders, "crop_planes", lambda *given: (begun.append(time.monotonic()), real(*given))
    )
    loader = make(path, images=200, batch_size=1)
    with loader.epoch(0) as batches:
        next(batches)
        while time.monotonic() - begun[-1] < 0.5:
            time.sleep(0.05)
        with path.open("r+b") as file:
            file.truncate(100)
        with pytest.raises(RunFailed, match="cut short"):
            list(batches)


def test_a_broken_jpeg_is_an_error(tmp_path):
    path = tmp_path / "j.beton"
    write_beton(path, 1, items.smooth_item, StoreSettings(store_size=48, store_format="jpeg"))
    with path.open("r+b") as file:
        file.seek(1 << 23)
        file.write(bytes(300))
    with pytest.raises(RunFailed, match="JPEG image at byte 8388608 is broken"):
        load(make(path, images=1, crop=CropRule()))


def test_a_torn_file_is_refused_when_opened(beton, tmp_path):
    torn = tmp_path / "torn.beton"
    torn.write_bytes(beton.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"torn.beton is cut short .* prepare the data set again"):
        make(torn)


def test_the_choice_names_ffcv_and_the_reason_it_was_given(beton):
    assert make(beton).choice == LoaderChoice(name="ffcv", reason="asked for")


def test_a_new_process_loads_silently_and_keeps_torchs_threads(beton):
    """Stock FFCV sets torch's threads to 1 when imported, and numba writes to stderr at the end."""
    code = f"""if True:
        import torch
        torch.set_num_threads(3)
        from pathlib import Path
        from harness.data.base import CropRule, LoaderSettings
        from harness.data.ffcv.loader import FfcvLoader
        settings = LoaderSettings(batch_size=8, crop=CropRule(size=9, position="random"), shuffle=True, workers=2)
        loader = FfcvLoader(Path({str(beton)!r}), settings, images={N}, reason="asked for")
        with loader.epoch(0) as batches:
            print(sum(len(batch.images) for batch in batches), torch.get_num_threads())
        """
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{N} 3\n", "")


def test_the_compiled_loop_is_kept_in_the_cache_folder_and_not_beside_the_code(tmp_path):
    """numba reads the variable when it is imported, which must not be before it is set."""
    environ = {name: text for name, text in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    code = "import harness.data.ffcv.loader, numba; print(numba.config.CACHE_DIR)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ | {"HARNESS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{tmp_path / 'numba'}\n"
    assert list((tmp_path / "numba").rglob("ops._crop_planes*"))
