"""Measures the FFCV loader on a file larger than memory: python tests/bench/larger_than_memory.py FOLDER [REPEATS]

Writes 2 GB to FOLDER once. Each way runs in turn in a process of its own, in a cgroup (version 1) that may use 900 MiB;
making the cgroup needs root. Prints images/s and MB read per image of the second epoch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.base import CropRule, LoaderSettings
from harness.data.ffcv import loader as ffcv_loader
from harness.data.ffcv.write import write_beton
from harness.data.page_order import Pages
from harness.data.prepare.manifest import StoreSettings

CGROUP, LIMIT_MIB = Path("/sys/fs/cgroup/memory/larger_than_memory"), 900
IMAGES, SIDE, BATCH, GROUP_PAGES = 10_000, 256, 128, 12
WAYS = ("random,none", "random,ahead", "pages,none", "pages,ahead")


def noise(index: int) -> tuple[Any, int, None]:
    made = np.random.Generator(np.random.Philox(key=[7, index])).bytes(SIDE * SIDE * 3)
    return np.frombuffer(made, dtype=np.uint8).reshape(SIDE, SIDE, 3), index % 1000, None


def read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def measure(path: Path, way: str) -> None:
    """Two epochs, of 10 batches where each image waits for the disk."""
    CGROUP.mkdir(exist_ok=True)
    (CGROUP / "memory.limit_in_bytes").write_text(str(LIMIT_MIB << 20))
    (CGROUP / "cgroup.procs").write_text(str(os.getpid()))
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    order, reading = way.split(",")
    if reading == "none":
        ffcv_loader.outgrows_memory = lambda _: False
    pages = Pages(images=42, together=GROUP_PAGES) if order == "pages" else None
    crop = CropRule(size=224, position="random", mirror=True)
    settings = LoaderSettings(batch_size=BATCH, crop=crop, shuffle=True, pages=pages)
    loader = ffcv_loader.FfcvLoader(path, settings, images=IMAGES, reason="measured")
    most = 10 if way == "random,none" else loader.batches
    for epoch in range(2):
        read, began, images = read_bytes(), time.perf_counter(), 0
        with loader.epoch(epoch) as batches:
            for batch, _ in zip(batches, range(most), strict=False):
                images += len(batch.labels)
        per_s, mb = images / (time.perf_counter() - began), (read_bytes() - read) / images / 1e6
    print(f"{way:14} {per_s:6.0f} images/s {mb:6.3f} MB/image", flush=True)


def main(folder: Path, repeats: int) -> None:
    path = folder / "larger_than_memory.beton"
    if not path.exists():
        write_beton(path, IMAGES, noise, StoreSettings(store_size=SIDE))
    for _ in range(repeats):
        for way in WAYS:
            subprocess.run([sys.executable, __file__, str(folder), way], check=True)
    CGROUP.rmdir()


if __name__ == "__main__":
    if "," in sys.argv[-1]:
        measure(Path(sys.argv[1]) / "larger_than_memory.beton", sys.argv[2])
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
