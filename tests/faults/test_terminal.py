"""The terminal is not the run: what happens to streams, signals and names on a screen doesn't end or spoil a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli.streams import printable
from harness.errors import UsageError
from harness.setup.cache import cache_folder

ROOT = Path(__file__).parents[2]
RUN = ("run", "--variant", "no_lrn", "--data", "synthetic", "--device", "cpu", "--set", "epochs=0.05")


def command(tmp_path: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(tmp_path / "cache")}
    return [
        sys.executable,
        "-m",
        "harness",
        *words,
        *(("--results", str(tmp_path)) if words[0] == "run" else ()),
    ], environ


def statuses(tmp_path: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in tmp_path.glob("2*/summary.json")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_run_goes_on_when_stderr_is_full(tmp_path: Path) -> None:
    words, environ = command(tmp_path, *RUN)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, env=environ, stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert (done.returncode, statuses(tmp_path)) == (0, ["ok"])
    assert done.stdout.startswith("no_lrn: top-1 error ")


def test_a_run_goes_on_when_the_reader_of_stderr_leaves(tmp_path: Path) -> None:
    words, environ = command(tmp_path, *RUN)
    process = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    with process.stdout as out:
        assert out.read().startswith("no_lrn: top-1 error ")
    assert (process.wait(60), statuses(tmp_path)) == (0, ["ok"])


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_a_lost_terminal_seals_the_run_as_interrupted(tmp_path: Path, ending: signal.Signals) -> None:
    words, environ = command(tmp_path, *RUN[:-1], "epochs=50")
    process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".open/*/events.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(ending)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, statuses(tmp_path)) == (130, ["interrupted"]), said
    (summary,) = tmp_path.glob("2*/summary.json")
    assert f"stopped by {ending.name}" in json.loads(summary.read_text())["status_reason"]


def test_under_nohup_a_lost_terminal_changes_nothing(tmp_path: Path) -> None:
    words, environ = command(tmp_path, *RUN)
    process = subprocess.Popen(
        words,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # what nohup does
    )
    while not list(tmp_path.glob(".open/*/spec.json")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert (process.wait(60), statuses(tmp_path)) == (0, ["ok"])


def test_a_narrow_encoding_prints_question_marks(tmp_path: Path) -> None:
    words, environ = command(tmp_path, "targets", "grouped_2gpu")
    done = subprocess.run(
        words, env=environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout


def test_control_characters_of_a_name_are_shown_and_not_sent() -> None:
    assert printable("a\nb\x1b[31m.jpg is broken: é") == r"a\nb\x1b[31m.jpg is broken: é"


def test_without_a_home_folder_the_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(UsageError, match="set HARNESS_CACHE"):
        cache_folder({})
    assert cache_folder({"HARNESS_CACHE": "/x"}) == Path("/x")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--variant", "no_lrn", "--threads", "2147483648"),
        ("run", "--variant", "no_lrn", "--workers", "100000"),
        ("data", "prepare", "fashion_mnist", "--size", "100000"),
        ("reproduce", "--minutes", "nan"),
        ("reproduce", "--minutes", "-1"),
        ("verify", "--results", "nowhere"),
        ("run", "--variant", "no_lrn", "--save-weights", "w.bin"),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything_is_done(
    tmp_path: Path, call: Any, words: tuple[str, ...]
) -> None:
    said = call(*words)
    assert said.code == 2, said.err
    assert not (tmp_path / "cache" / "data").exists()
