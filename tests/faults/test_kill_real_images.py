"""Runs on Fashion-MNIST with two loader workers, killed by SIGKILL at random moments and resumed to the same bits.

`nox -s soak` makes 20 runs, each killed up to twice: 10 to 17 minutes on 2 cores with other load.
"""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from faulty import start
from safetensors.torch import load_file
from test_resume import begun, equal, finish, finished

from harness.checkpoint import FOLDER
from harness.events import RunResumed
from harness.placement import LoaderName
from harness.records.store import RunRecord
from harness.setup.cache import cache_folder

pytestmark = pytest.mark.soak

RUN = (
    "run", "--variant", "grouped_2gpu", "--data", "fashion_mnist", "--limit-train", "3000", "--limit-val", "500",
    "--device", "cpu", "--threads", "1", "--workers", "2", "--set", "epochs=1", "--checkpoint-minutes", "0",
)  # fmt: skip
MOMENTS = 10  # for each loader
DOWNLOADED = cache_folder() / "data/downloads/fashion-mnist"


class Runs:
    """Runs of one loader, with one cache. `whole` never stopped; it took `length_s` from its folder to its end."""

    def __init__(self, home: Path, loader: LoaderName) -> None:
        self.home, self.loader = home, loader
        finish(self.start("warm"))  # prepares the data
        process = self.start("whole")
        begun(home / "whole", process)
        began_s = time.monotonic()
        finish(process)
        self.length_s = time.monotonic() - began_s
        (self.whole,) = finished(home / "whole")

    def start(self, name: str) -> subprocess.Popen[str]:
        path = ("--path", DOWNLOADED) if DOWNLOADED.is_dir() else ()
        weights = ("--save-weights", self.weights(name))
        where = ("--loader", self.loader, "--results", self.home / name)
        return start(self.home / "cache", *RUN, *weights, *where, *path)

    def weights(self, name: str) -> Path:
        return self.home / f"{name}.safetensors"

    def killed(self, name: str, after_s: float) -> None:
        results = self.home / name
        before = set(results.glob(".open/*/spec.json"))
        process = self.start(name)
        begun(results, process, before)
        time.sleep(after_s)
        lives = process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True) if lives else []
        process.kill()
        process.communicate()
        _, left = psutil.wait_procs(children, timeout=30)
        assert left == []  # torch's loader workers notice it within 5 s


@pytest.fixture(scope="module", params=["ffcv", "folder"])
def runs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Runs:
    if request.param == "ffcv":
        pytest.importorskip("ffcv")
    return Runs(tmp_path_factory.mktemp("real"), request.param)


def resumes(record: RunRecord) -> int:
    return sum(isinstance(event, RunResumed) for event in record.events())


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_twice_at_random_it_ends_as_the_run_that_never_stopped(runs: Runs, moment: int) -> None:
    name, chance = f"killed-{moment}", random.Random(moment)
    first = (moment + chance.random()) / MOMENTS
    for part in (first, chance.random() * (1 - first)):
        if not finished(runs.home / name):
            runs.killed(name, part * runs.length_s)
    if not finished(runs.home / name) or list((runs.home / name / FOLDER).glob("*/*")):
        finish(runs.start(name))
    (record,) = finished(runs.home / name)
    equal(record, runs.whole)
    ours, expected = load_file(runs.weights(name)), load_file(runs.weights("whole"))
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[each], expected[each]) for each in ours)
    print(f"{runs.loader}: killed after {first:.0%}, resumed {resumes(record)} times")
