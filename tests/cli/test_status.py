"""`status`: what is going on under a results folder, what stopped, and nothing where nothing is."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from faulty import start

from harness.checkpoint import FOLDER
from harness.status import unfinished


@pytest.fixture
def going_on(tmp_path: Path) -> Any:
    """A run of a minute with a checkpoint after each window."""
    words = ("--variant", "no_lrn", "--data", "synthetic", "--device", "cpu", "--set", "epochs=60")
    where = ("--results", tmp_path, "--checkpoint-minutes", "0")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = start(tmp_path / "cache", "run", *words, *where, **silent)
    while not list(tmp_path.glob(f"{FOLDER}/*/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_a_run_is_listed_while_it_goes_on_and_after_it_stopped(
    going_on: Any, tmp_path: Path, call: Any
) -> None:
    time.sleep(1.5)  # events reach the file about once a second
    (running,) = unfinished(tmp_path)
    assert (running.state, running.steps) == ("running", 1920)
    assert running.checkpoint is not None
    assert 0 < running.checkpoint <= 1920
    assert running.left_s is not None
    assert running.last_event.startswith("loss ")
    going_on.send_signal(signal.SIGINT)
    going_on.wait(30)
    (stopped,) = unfinished(tmp_path)
    assert (stopped.state, stopped.name) == ("stopped", running.name)
    assert stopped.step == stopped.checkpoint >= running.step
    said = call("status", "--results", tmp_path)
    assert said.code == 0
    assert "stopped" in said.out
    assert f"{stopped.step:,}" in said.out


def test_status_writes_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    home = results / ".open"
    home.mkdir(parents=True)
    (home / "guard.lock").touch()
    stale = home / f"{'a' * 64}.lock"
    stale.write_text("1")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in home.iterdir()}
    assert unfinished(results) == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in home.iterdir()} == before


def test_nothing_unfinished_is_said_in_a_sentence(call: Any, tmp_path: Path) -> None:
    said = call("status", "--results", tmp_path)
    assert said.out.startswith("no run is going on under ")
