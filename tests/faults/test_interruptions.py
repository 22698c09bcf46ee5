"""Ctrl-C and SIGTERM at any moment: exit code 130 and one sentence, nothing torn, and the next call works."""

from __future__ import annotations

import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import run_on
from faulty import contents, environment, start, wait_until

from harness.data.prepare.manifest import folder_lock
from harness.records.store import Store
from harness.records.verify import verify

SAID = "interrupted; this command lists runs that can resume: python -m harness status"


def first_call_is_hit(number: signal.Signals, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, but the first call is where the signal arrives."""
    left = [number]

    def hit(*words: Any, **more: Any) -> Any:
        if left:
            signal.raise_signal(left.pop())
        return real(*words, **more)

    return hit


def patched(monkeypatch: pytest.MonkeyPatch, where: str, number: signal.Signals) -> None:
    monkeypatch.setattr(where, first_call_is_hit(number, pkgutil.resolve_name(where)))


MOMENTS = {
    "data preparation, first pass": ("harness.data.prepare.parts.examine", None),
    "data preparation, statistics": ("harness.data.prepare.passes.data_file", None),
    "data preparation, a group of images": ("harness.data.ffcv.one_pass.OnePass._commit", None),
    "data preparation, end of a file": ("harness.data.ffcv.write._header", None),
    "before the first step": ("harness.set_up.build", "interrupted"),
    "training": ("harness.loss.training_loss", "interrupted"),
    "the end of training": ("harness.train.Window.close", "interrupted"),
    "evaluation": ("harness.evaluate._score", "interrupted"),
    "between evaluation and sealing": ("harness.run.first_kernels", "interrupted"),
    "sealing, before the summary": ("harness.records.writer.seal_folder", "ok"),
    "sealing, at the checksums": ("harness.records.writer.sums_text", "ok"),
    "sealing, before the rename": ("harness.records.writer.os.rename", "ok"),
    "sealing, after the rename": ("harness.records.writer.make_read_only", "ok"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_hit_by_a_signal(
    call: Any, class_folders: Path, monkeypatch: pytest.MonkeyPatch, moment: str, number: signal.Signals
) -> None:
    pytest.importorskip("ffcv")
    where, status = MOMENTS[moment]
    words = ("run", "--variant", "no_lrn", "--data", "folder", "--path", class_folders)
    with monkeypatch.context() as here:
        patched(here, where, number)
        said = call(*words)
    assert (said.code, said.error) == (130, SAID)
    records = Store(Path("results")).records()
    assert [record.summary.status for record in records] == ([status] if status else [])
    if status == "interrupted":
        named = "SIGTERM" if number == signal.SIGTERM else "Ctrl-C"
        assert str(records[0].summary.status_reason).startswith(f"stopped by {named} after ")
    leaves_nothing_behind()

    assert call(*words).code == 0
    assert Store(Path("results")).records()[-1].summary.status == "ok"
    leaves_nothing_behind()


def leaves_nothing_behind() -> None:
    """No open record, no temporary file, and every record as it was sealed."""
    assert not [path for path in Path("results").glob(".open/*") if path.is_dir()]
    assert not [path for path in Path("cache").rglob("*") if path.suffix in (".tmp", ".partial")]
    assert [
        problem for record in Store(Path("results")).records() for problem in verify(record.path)
    ] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "where",
    ["harness.report.build.build", "harness.report.render.pdf", "harness.report.render._manifest"],
)
def test_a_report_hit_by_a_signal_leaves_the_old_one(
    call: Any, class_folders: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: signal.Signals
) -> None:
    words = run_on(class_folders)
    assert call(*words).code == 0
    assert call("report").code == 0
    before = contents(Path("reports"))
    assert call(*words, "--seed", "1").code == 0
    with monkeypatch.context() as here:
        patched(here, where, number)
        said = call("report")
    assert (said.code, said.error) == (130, SAID)
    assert contents(Path("reports")) == before
    assert call("report").code == 0


def test_sigterm_to_the_whole_group_reaches_a_run_twice_and_it_is_sealed_all_the_same(
    call: Any, class_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker gets the group's SIGTERM and then its parent's; the second one must not break off the sealing."""
    words = run_on(class_folders)
    with monkeypatch.context() as here:
        patched(here, "harness.loss.training_loss", signal.SIGTERM)
        patched(here, "harness.records.writer.sums_text", signal.SIGTERM)
        said = call(*words)
    assert (said.code, said.error) == (130, SAID)
    (record,) = Store(Path("results")).records()
    assert record.summary.status == "interrupted"
    leaves_nothing_behind()


def test_what_a_killed_preparation_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (".train.beton.4711.partial", ".manifest.json.4711.tmp"):
        (folder / name).touch()
    (folder / "train.beton").touch()
    with folder_lock(folder):
        assert os.listdir(folder) == ["train.beton"]  # noqa: PTH208


def test_a_terminals_ctrl_c_while_writer_processes_start_or_work_is_one_sentence(
    class_folders: Path, tmp_path: Path
) -> None:
    """SIGINT goes to the whole group, here as soon as there is a file to write into: the writers are importing."""
    pytest.importorskip("ffcv")
    words = ("data", "prepare", "folder", "--path", class_folders, "--workers", "2", "--loader", "ffcv")
    process = start(tmp_path / "cache", *words, start_new_session=True)
    wait_until(lambda: list((tmp_path / "cache").glob("data/*/train.beton.part")))
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == f"error: {SAID}"
    assert not list((tmp_path / "cache").rglob(".*.tmp"))


SCRIPT = """
from pathlib import Path
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
prepare("folder", StoreSettings(store_size=36), path=Path("images"), workers=2, loader="ffcv")
"""


def test_a_script_without_a_main_guard_ends_with_a_message(class_folders: Path, tmp_path: Path) -> None:
    """Writer processes import the script anew; without a guard they would prepare, too, and wait for their parent."""
    pytest.importorskip("ffcv")
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "put the call under: if __name__ == '__main__':" in ended.stderr
    assert "could not import this script (it then says why above)" in ended.stderr
