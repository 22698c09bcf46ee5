"""A tiny run killed by SIGKILL at random moments from its start to its seal, and started again each time.

Whatever was killed, in the end there is one finished record, equal to that of the run that never stopped: losses,
correctness of each image, and weights, to the bit. `nox -s soak` kills at 50 moments.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_resume import equal

from harness.checkpoint import FOLDER
from harness.records.store import RunRecord, Store
from harness.records.verify import verify

HERE = Path(__file__).parent
Start = Callable[..., float]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """`start(results, kill_after_s)`: a run into that folder, killed then or not at all; how many seconds it lived."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE.parents[1]), str(HERE)))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, HERE / "killer.py"], env=environ, text=True, **pipes
    ) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None

        def run(results: Path, kill_after_s: float | None = None) -> float:
            killer.stdin.write(json.dumps([str(results), kill_after_s]) + "\n")
            killer.stdin.flush()
            status, lived_s = json.loads(killer.stdout.readline())
            assert status == 0 or kill_after_s is not None
            return lived_s

        yield run
        killer.stdin.close()


@dataclass(frozen=True)
class Whole:
    """The run that never stopped: its record, its weights, and its length."""

    record: RunRecord
    weights: dict[str, torch.Tensor]
    length_s: float


def finished(results: Path) -> list[RunRecord]:
    return [record for record in Store(results).records() if record.summary.status == "ok"]


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    home = tmp_path_factory.mktemp("whole")
    start(home / "warm" / "results")  # reads from the disk what the others find in memory
    length_s = start(home / "results")
    (record,) = finished(home / "results")
    return Whole(record, load_file(home / "net.safetensors"), length_s)


def ends_as_the_whole(start: Start, results: Path, whole: Whole) -> None:
    """The same command once more, unless nothing was left to do: a run that ended before it was killed."""
    if not finished(results) or list((results / FOLDER).glob("*/*")):
        start(results)
    (record,) = finished(results)
    equal(record, whole.record)
    weights = load_file(results.parent / "net.safetensors")
    assert weights.keys() == whole.weights.keys()
    assert all(torch.equal(weights[name], whole.weights[name]) for name in weights)
    assert [problem for folder in Store(results).folders() for problem in verify(folder)] == []
    assert list((results / FOLDER).glob("*/*")) == []
    assert [path for path in (results / ".open").iterdir() if path.is_dir()] == []


def kill_at(start: Start, tmp_path: Path, whole: Whole, moment: float) -> None:
    """One run, killed after this part of its length."""
    start(tmp_path / "results", moment * whole.length_s)
    ends_as_the_whole(start, tmp_path / "results", whole)


@pytest.mark.parametrize("quarter", range(4))
def test_killed_at_four_moments_it_ends_as_the_run_that_never_stopped(
    start: Start, tmp_path: Path, whole: Whole, quarter: int
) -> None:
    kill_at(start, tmp_path, whole, (quarter + random.Random(quarter).random()) / 4)


def test_killed_again_and_again_it_ends_as_the_run_that_never_stopped(
    start: Start, tmp_path: Path, whole: Whole
) -> None:
    chance = random.Random(2012)
    for _ in range(3):
        start(tmp_path / "results", chance.uniform(0.3, 0.7) * whole.length_s)
        if finished(tmp_path / "results"):
            break
    ends_as_the_whole(start, tmp_path / "results", whole)


@pytest.mark.soak
@pytest.mark.parametrize("moment", range(50))
def test_killed_at_fifty_moments_it_ends_as_the_run_that_never_stopped(
    start: Start, tmp_path: Path, whole: Whole, moment: int
) -> None:
    kill_at(start, tmp_path, whole, (moment + random.Random(moment).random()) / 50)
