"""A process that was stopped for longer than a loader's timeout goes on, and a stall is retried once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.base import CropRule, LoaderSettings
from harness.data.loaders import folder as folder_module
from harness.data.loaders.folder import FolderLoader
from harness.data.prepare.manifest import Listing, StoreSettings
from harness.data.resize import open_rgb
from harness.errors import RunFailed

ROOT = Path(__file__).parents[2]
TIMEOUT_S, STOPPED_S = 1.0, 3.0

# Each image takes 0.6 s of the worker's own time: it counts in steps, so that it waits for no clock.
FOLDER = """
import time
from pathlib import Path
import numpy as np
from harness.data.base import LoaderSettings
from harness.data.loaders import folder
from harness.data.prepare.manifest import Listing

real = folder.open_rgb
def slow(path):
    for _ in range(60):
        time.sleep(0.01)
    return real(path)
folder.open_rgb = slow

names = [path.relative_to("images/train").as_posix() for path in sorted(Path("images/train").rglob("*.png"))]
listing = Listing(names=names, labels=np.zeros(len(names), dtype=np.int64), boxes=None)
loader = folder.FolderLoader(
    Path("images/train"), listing, LoaderSettings(batch_size=1, workers=1), side=16, reason="a test", timeout_s=1.0
)
with loader.epoch(0) as batches:
    for batch in batches:
        print(batch.indices.item(), flush=True)
"""

FFCV = """
import time
from pathlib import Path
from harness.data.base import LoaderSettings
from harness.data.ffcv import decoders
from harness.data.ffcv.loader import FfcvLoader

real = decoders.crop_planes
def slow(*given):
    for _ in range(60):
        time.sleep(0.01)
    return real(*given)
decoders.crop_planes = slow

settings = LoaderSettings(batch_size=1, workers=1)
loader = FfcvLoader(Path("train.beton"), settings, images=12, reason="asked for", timeout_s=1.0)
with loader.epoch(0) as batches:
    for batch in batches:
        print(batch.indices.item(), flush=True)
"""


@pytest.mark.parametrize("script", [FOLDER, FFCV], ids=["folder", "ffcv"])
def test_a_run_that_was_stopped_for_longer_than_the_timeout_goes_on(
    class_folders: Path, tmp_path: Path, script: str
) -> None:
    if script is FFCV:
        pytest.importorskip("ffcv")
        from harness.data.ffcv.write import write_beton

        noise = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
        write_beton(
            tmp_path / "train.beton", 12, lambda i: (noise[i], 0, None), StoreSettings(store_size=16)
        )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        shown = [process.stdout.readline()]
        for _ in range(2):
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.killpg(process.pid, signal.SIGCONT)
            shown.append(process.stdout.readline())
        more, said = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-400:]
    assert ("".join(shown) + more).split() == [str(index) for index in range(12)]


def folder_loader(class_folders: Path) -> FolderLoader:
    root = class_folders / "train"
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.png"))]
    listing = Listing(names=names, labels=np.arange(len(names)), boxes=None)
    settings = LoaderSettings(
        batch_size=5, crop=CropRule(size=9, position="random"), shuffle=True, workers=1
    )
    return FolderLoader(root, listing, settings, side=16, reason="a test", timeout_s=TIMEOUT_S)


def test_a_stall_of_the_folder_loader_is_retried_once_with_the_same_batches(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder_loader(class_folders).epoch(0) as batches:
        expected = list(batches)
    mark, calls = tmp_path / "stalled", []

    def stalls_once(path: Path) -> object:
        calls.append(path)
        if len(calls) == 7 and not mark.exists():
            mark.touch()
            time.sleep(20)
        return open_rgb(path)

    monkeypatch.setattr(folder_module, "open_rgb", stalls_once)
    with folder_loader(class_folders).epoch(0) as batches:
        found = list(batches)
    assert mark.exists()
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize("stalls", [1, 2])
def test_a_stall_of_the_ffcv_loader_is_retried_once_with_the_same_batches(
    tmp_path: Path, stalls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ffcv")
    from harness.data.ffcv import decoders
    from harness.data.ffcv.loader import FfcvLoader
    from harness.data.ffcv.write import write_beton

    noise = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    write_beton(
        tmp_path / "train.beton", 40, lambda i: (noise[i], 0, None), StoreSettings(store_size=16)
    )
    settings = LoaderSettings(
        batch_size=3, crop=CropRule(size=9, position="random"), shuffle=True, workers=1
    )

    def load() -> list[object]:
        loader = FfcvLoader(
            tmp_path / "train.beton", settings, images=40, reason="asked for", timeout_s=0.5
        )
        with loader.epoch(1) as batches:
            return [(batch.indices.tolist(), batch.images.tolist()) for batch in batches]

    expected = load()
    freed, calls, real = threading.Event(), list[int](), decoders.crop_planes

    def some_stall(*given: object) -> object:
        calls.append(1)
        if 7 <= len(calls) < 7 + stalls:
            freed.wait(20)
        return real(*given)

    monkeypatch.setattr(decoders, "crop_planes", some_stall)
    before = set(threading.enumerate())
    try:
        if stalls == 1:
            assert load() == expected
        else:
            with pytest.raises(RunFailed, match=r"no batch came from .*train\.beton for 0\.5 s, twice"):
                load()
    finally:
        freed.set()
    until = time.monotonic() + 5
    while set(threading.enumerate()) - before:
        assert time.monotonic() < until
        time.sleep(0.05)
