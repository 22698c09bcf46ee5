"""Many runs in a row, in one process and in a worker: memory, handles, threads and what lies on disk stay flat.

`nox -s soak` makes 1,000 runs, or SOAK_RUNS. Measured then: 702.2 MiB after 10 runs, 708.4 MiB after 1,000.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from soak_runs import IMAGES, STORED, Held, Task, in_a_worker, in_this_process

from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.placement import LoaderName
from harness.records.store import Store

WARM = 8  # runs until what is loaded late is loaded, and the allocator has its pools
GROWTH_MIB = 5.0  # of a few runs: measured 0.3. A leaked process-wide cache of images or a loader's buffers is more
GROWTH_1000_MIB = (
    20.0  # of 1,000 runs: measured 6 to 12, in steps of 4 MiB, with no more Python objects
)
RUNS = int(os.environ.get("SOAK_RUNS", "1000"))
LEFT = 3  # in .open the guard and the last run's lock, which the next one removes; multiprocessing's one folder

WHERE = {"in one process": in_this_process, "in a worker": in_a_worker}

pytestmark = pytest.mark.usefixtures("torch_as_before")


@pytest.fixture(autouse=True)
def temporary_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)


def stays_flat(
    run: Callable[[list[Task]], Iterator[Held]], tasks: list[Task], growth_mib: float = GROWTH_MIB
) -> None:
    after = list(run(tasks))
    results = tasks[0].results
    warm, rest = after[WARM - 1], after[WARM:]
    assert len(after) == len(tasks)
    assert max(held.rss_mib for held in rest) - warm.rss_mib < growth_mib
    # fewer: what earlier tests left was collected
    assert max(held.handles for held in rest) <= warm.handles
    assert max(held.threads for held in rest) <= warm.threads
    assert max(held.left for held in after) <= LEFT
    assert list(results.rglob("*.tmp")) == []
    verified = Store(results).verified()
    assert (len(verified.records), verified.refused) == (len(tasks), ())


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_runs_with_loaders_leave_nothing_behind(tmp_path: Path, loader: LoaderName) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    for split in ("train", "val"):
        for number in range(IMAGES):
            path = tmp_path / "images" / split / "abcdefghij"[number % 10] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (STORED, STORED), (number, 99, 0)).save(path)
    settings = StoreSettings(store_size=STORED)
    ready = prepare(
        "folder", settings, path=tmp_path / "images", loader=loader, cache=tmp_path / "cache", workers=1
    )
    tasks = [Task(tmp_path / "results", seed, ready.folder, loader) for seed in range(16)]
    stays_flat(in_this_process, tasks)


def test_runs_in_a_worker_leave_nothing_behind(tmp_path: Path) -> None:
    stays_flat(in_a_worker, [Task(tmp_path / "results", seed) for seed in range(16)])


@pytest.mark.soak
@pytest.mark.parametrize("where", WHERE)
def test_a_thousand_runs_leave_nothing_behind(tmp_path: Path, where: str) -> None:
    stays_flat(
        WHERE[where], [Task(tmp_path / "results", seed) for seed in range(RUNS)], GROWTH_1000_MIB
    )
