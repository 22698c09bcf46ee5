"""The terminal is not the run: what happens to streams, signals and names on a screen doesn't end or spoil a run."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import faulty
import pytest

from harness.cli.streams import printable
from harness.errors import UsageError
from harness.setup.cache import cache_folder

RUN = ("run", "--variant", "no_lrn", "--data", "synthetic", "--device", "cpu", "--set")


def start(results: Path, epochs: str = "0.05", **options: Any) -> subprocess.Popen[str]:
    """A run on synthetic images; of a second, unless it has more epochs."""
    return faulty.start(results / "cache", *RUN, f"epochs={epochs}", "--results", results, **options)


def statuses(tmp_path: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in tmp_path.glob("2*/summary.json")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_run_goes_on_when_stderr_is_full(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(tmp_path, stderr=full)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, statuses(tmp_path)) == (0, ["ok"])
    assert out.startswith("no_lrn: top-1 error ")


def test_a_run_goes_on_when_the_reader_of_stderr_leaves(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdout is not None
    with process.stdout as out:
        assert out.read().startswith("no_lrn: top-1 error ")
    assert (process.wait(60), statuses(tmp_path)) == (0, ["ok"])


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_a_lost_terminal_seals_the_run_as_interrupted(tmp_path: Path, ending: signal.Signals) -> None:
    process = start(tmp_path, epochs="50")
    faulty.wait_until(lambda: list(tmp_path.glob(".open/*/events.jsonl")))
    process.send_signal(ending)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, statuses(tmp_path)) == (130, ["interrupted"]), said
    (summary,) = tmp_path.glob("2*/summary.json")
    assert f"stopped by {ending.name}" in json.loads(summary.read_text())["status_reason"]


def test_under_nohup_a_lost_terminal_changes_nothing(tmp_path: Path) -> None:
    # what nohup does
    process = start(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    faulty.wait_until(lambda: list(tmp_path.glob(".open/*/spec.json")) or process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert (process.returncode, statuses(tmp_path)) == (0, ["ok"])


def test_a_narrow_encoding_prints_question_marks(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = faulty.start(
        cache, "targets", "grouped_2gpu", env=faulty.environment(cache, PYTHONIOENCODING="ascii")
    )
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "?" in out


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
