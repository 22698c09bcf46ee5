"""The main job, whole and small: a study is trained, sealed, reported, found done, verified; and stopped, every way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from faulty import ENOUGH_S, contents, spawned, start, wait_until

from harness.records.store import RunRecord, Store
from harness.records.verify import verify
from harness.status import unfinished
from harness.studies.progress import study_states


@dataclass(frozen=True)
class Place:
    """A folder to work in, and a small data set."""

    home: Path
    images: Path

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """In a process group of its own, as a terminal starts a command; stdout and stderr are pipes."""
        options = {"cwd": self.home, "stdin": subprocess.DEVNULL, "start_new_session": True}
        return start(self.home / "cache", *words, **options)

    def call(self, *words: str | Path) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=ENOUGH_S)
        return process.returncode, out, err

    def records(self) -> list[RunRecord]:
        return Store(self.home / "results").records()

    def states(self) -> tuple[list[str], tuple[int, int, int]]:
        """Of the unfinished runs; and how many runs of the study are done, running and to do."""
        runs = unfinished(self.home / "results")
        (study,) = study_states(self.home / "results", runs)
        return [run.state for run in runs], (study.done, study.running, study.todo)

    def open_runs(self) -> list[Path]:
        return [path.parent for path in (self.home / "results/.open").glob("*/env.json")]


@pytest.fixture
def place(tmp_path: Path, class_folders: Path) -> Place:
    return Place(tmp_path, class_folders)


def test_a_study_from_pictures_to_a_report_that_a_second_call_leaves_as_it_is(
    place: Place, call: Any
) -> None:
    words = (
        "reproduce",
        "--variants",
        "grouped_2gpu, no_lrn",
        "--seeds",
        "2",
        "--jobs",
        "2",
        "--device",
        "cpu",
    )
    code, out, err = place.call(*words, "--data", "folder", "--path", place.images)
    assert (code, "error:" in err) == (0, False), err
    assert "study reproduce: 4 runs, 0 sealed before, 4 to do, 2 at a time" in err
    assert "study reproduce: 0 of 4 runs done, " in err  # as the first run starts
    assert out.rstrip().endswith("report: reports/reproduce/report.md and reports/reproduce/report.pdf")
    assert "* 4 runs of 2 variants finished on folder" in out
    sealed = place.records()
    assert {(r.spec.variant, r.spec.seed, r.summary.status) for r in sealed} == {
        (variant, seed, "ok") for variant in ("grouped_2gpu", "no_lrn") for seed in (0, 1)
    }
    assert all(record.env.placement.concurrent == 2 for record in sealed)
    assert [verify(record.path) for record in sealed] == [[]] * 4
    report = contents(place.home / "reports/reproduce")
    assert report[Path("report.pdf")].startswith(b"%PDF")
    assert all(record.run_id.encode() in report[Path("manifest.json")] for record in sealed)

    code, again, err = place.call(*words, "--data", "folder", "--path", place.images)
    assert code == 0
    assert "study reproduce: 4 runs, 4 sealed before, 0 to do" in err
    assert again == out
    assert [record.run_id for record in place.records()] == [record.run_id for record in sealed]
    assert contents(place.home / "reports/reproduce") == report
    assert call("verify").out == "4 of 4 records are unchanged since they were sealed\n"
    assert call("verify-report", "reports/reproduce").out.startswith("ok: ")

    for record in sealed:  # as if they had come with the clone
        shutil.copytree(record.path, place.home / "results/reference/reproduce" / record.run_id)
        shutil.rmtree(record.path)
    one = ("reproduce", "--variants", "no_lrn", "--seeds", "1", "--device", "cpu", "--jobs", "1")
    said = call(*one, "--data", "folder", "--path", place.images)
    assert said.code == 0
    assert "study reproduce: 1 run, 0 sealed before, 1 to do" in said.err
    assert "* 1 run of 1 variant finished" in said.out
    assert len(place.records()) == 1


LONG = (
    "reproduce",
    "--variants",
    "cifar_18pct,cifar_4layer_relu",
    "--recipe",
    "cifar_2012",
    "--seeds",
    "2",
)


@pytest.fixture
def long_study(place: Place, loader: str) -> Iterator[subprocess.Popen[str]]:
    """Two long runs side by side, both begun; the folder loader has processes of its own, FFCV's has threads."""
    data = ("--data", "folder", "--path", place.images, "--loader", loader)
    process = place.start(*LONG, "--jobs", "2", "--device", "cpu", *data)
    wait_until(lambda: len(place.open_runs()) == 2)
    time.sleep(0.5)
    yield process
    if group_of(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def group_of(group: int) -> list[psutil.Process]:
    """The living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.parametrize(
    ("loader", "number", "to"),
    [
        ("folder", signal.SIGINT, os.killpg),  # as a terminal sends Ctrl-C
        ("auto", signal.SIGTERM, os.killpg),  # as service managers stop what they started
        ("auto", signal.SIGTERM, os.kill),
    ],
)
def test_a_stopped_study_seals_its_runs_and_leaves_no_process(
    place: Place,
    long_study: subprocess.Popen[str],
    number: signal.Signals,
    to: Callable[[int, int], None],
) -> None:
    to(long_study.pid, number)
    _, said = long_study.communicate(timeout=ENOUGH_S)
    assert long_study.returncode == 130
    assert "Traceback" not in said
    assert (
        said.splitlines()[-1]
        == "error: interrupted; this command lists runs that can resume: python -m harness status"
    )
    assert said.count("error:") == 1
    wait_until(lambda: not group_of(long_study.pid))
    assert [record.summary.status for record in place.records()] == ["interrupted"] * 2
    assert [verify(record.path) for record in place.records()] == [[], []]
    assert place.open_runs() == []


@pytest.mark.parametrize("loader", ["folder"])
def test_workers_whose_study_is_killed_end_by_themselves(
    place: Place, long_study: subprocess.Popen[str]
) -> None:
    """And `status` lists them as running before and never after; the killed study is still to do."""
    assert place.states() == (["running", "running"], (0, 2, 2))
    long_study.kill()
    wait_until(lambda: not group_of(long_study.pid))
    states, study = place.states()
    assert set(states) <= {"stopped"}  # a run that had done no step has no checkpoint
    assert study == (0, 0, 4)
    assert place.open_runs() == []
    assert [record.summary.status for record in place.records()] == ["interrupted"] * 2


def test_a_killed_worker_costs_its_run_and_the_study_goes_on(place: Place) -> None:
    """The run behind it is done by another worker, which also seals what the killed one left, if it had begun."""
    process = place.start(
        "reproduce", "--variants", "grouped_2gpu,no_lrn", "--seeds", "1", "--jobs", "1", "--device", "cpu",
        "--data", "synthetic", "--set", "epochs=1",
    )  # fmt: skip
    wait_until(lambda: len(place.open_runs()) == 1)
    (worker,) = spawned(process.pid)
    worker.kill()
    _, said = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 4
    found = {record.spec.variant: record.summary.status for record in place.records()}
    listed = (
        "lists them" if "grouped_2gpu" in found else "does not list them: no record of them is sealed"
    )
    assert said.splitlines()[-1] == (
        f"error: 1 of 2 runs ended without a result; the report {listed}. First: grouped_2gpu seed 0, "
        "epochs 1: its process ended with code -9 (out of memory, or killed)"
    )
    if "grouped_2gpu" in found:
        assert "interrupted: " in (place.home / "reports/reproduce/report.md").read_text()
    assert found.pop("no_lrn") == "ok"
    assert set(found.values()) <= {"interrupted"}
    assert (place.home / "reports/reproduce/report.pdf").exists()
    assert place.open_runs() == []
