"""Whatever stops a run, at any moment: what is sealed is whole, and what isn't is swept by the next run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import fake_run
import pytest
from fake_run import ENV, RIGHT, SPEC, STEPS, summary_of, write_run
from faulty import refuse

from harness.errors import RecordError
from harness.records import files, lines
from harness.records.store import TRIAL, Store, Terminated
from harness.records.verify import verify
from harness.signals import terminable

PROGRAM = Path(fake_run.__file__)
ROOT = PROGRAM.parents[2]


def start(root: Path, how: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAM), str(root), how]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def stop(process: subprocess.Popen[str], number: signal.Signals) -> str:
    process.send_signal(number)
    return process.communicate(timeout=20)[1]


def open_folders(root: Path) -> list[Path]:
    return [path for path in (root / ".open").iterdir() if path.is_dir()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_seals_the_run_as_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "endless")
    time.sleep(0.05)
    said = stop(process, number)
    assert ("Terminated" in said) == (number == signal.SIGTERM)
    (record,) = Store(tmp_path).records()
    assert record.summary.status == "interrupted"
    assert ("SIGTERM" in str(record.summary.status_reason)) == (number == signal.SIGTERM)
    assert verify(record.path) == []
    assert record.events()
    assert open_folders(tmp_path) == []


def test_signals_amid_sealing_never_leave_a_torn_record(tmp_path: Path) -> None:
    """Each process seals run after run, with no pause, until the signal hits it: at a moment nobody chose."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        root = tmp_path / number.name
        process = start(root, "sealing")
        time.sleep(0.1)
        stop(process, number)
        write_run(root)  # the next run sweeps
        assert open_folders(root) == []
        assert all(verify(record.path) == [] for record in Store(root).records())


def test_a_killed_run_is_sealed_by_the_next_one(tmp_path: Path) -> None:
    process = start(tmp_path, "endless")
    time.sleep(1.3)  # until the first flush
    stop(process, signal.SIGKILL)
    (stale,) = open_folders(tmp_path)
    with (stale / "events.jsonl").open("a") as file:
        file.write('{"torn')
    with Store(tmp_path).open(SPEC, ENV) as writer:
        assert writer.swept == (
            f"{stale.name} was killed; what it had written is sealed as interrupted",
        )
    first = Store(tmp_path).records()[0]
    assert (first.run_id, first.summary.status) == (stale.name, "interrupted")
    assert first.summary.images_seen == 8 * len(first.events()) > 0
    assert first.env == ENV
    assert verify(first.path) == []


def test_a_run_killed_before_its_first_event_is_removed(tmp_path: Path) -> None:
    process = start(tmp_path, "endless")
    stop(process, signal.SIGKILL)
    (stale,) = open_folders(tmp_path)
    (stale / "events.jsonl").unlink(missing_ok=True)
    with Store(tmp_path).open(SPEC, ENV) as writer:
        assert writer.swept == (
            f"{stale.name} was killed before its first event; its folder is removed",
        )
    assert not stale.exists()


def test_a_run_killed_between_summary_and_rename_keeps_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", refuse_to_seal(errno.EIO))
        with pytest.raises(RecordError):
            write_run(tmp_path)
    with Store(tmp_path).open(SPEC, ENV) as writer:
        assert "sealed now as ok" in writer.swept[0]
    assert Store(tmp_path).records()[0].summary.status == "ok"
    assert verify(Store(tmp_path).records()[0].path) == []


def test_a_living_run_is_not_swept(tmp_path: Path) -> None:
    process = start(tmp_path, "endless")
    try:
        with Store(tmp_path).open(replace(SPEC, seed=7), ENV) as writer:
            assert writer.swept == ()
        assert len(open_folders(tmp_path)) == 1
    finally:
        stop(process, signal.SIGKILL)


def test_sigterm_is_an_exception_within_the_block_only(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), Store(tmp_path).open(SPEC, ENV):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def refuse_to_seal(number: int):  # type: ignore[no-untyped-def]
    """For os.rename: only the trial of Store.make gets through."""
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(source).name != TRIAL:
            raise OSError(number, os.strerror(number))
        real(source, target)

    return rename


def test_a_full_disk_is_one_sentence_and_tears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = write_run(tmp_path)

    def run() -> None:
        with Store(tmp_path).open(SPEC, ENV, clock=time.monotonic) as writer:
            writer.event(STEPS)
            monkeypatch.setattr(files.os, "fsync", refuse(errno.ENOSPC))
            monkeypatch.setattr(lines.os, "pwrite", refuse(errno.ENOSPC))
            writer.write_correct("centre", RIGHT, RIGHT)

    with pytest.raises(
        RecordError, match=r"^can't write .*: No space left on device; free some disk space"
    ):
        run()
    monkeypatch.undo()
    assert [record.path for record in Store(tmp_path).records()] == [sealed]
    assert verify(sealed) == []
    with Store(tmp_path).open(SPEC, ENV) as writer:  # and the next run tidies up
        assert len(writer.swept) == 1


def test_a_disk_that_fills_between_two_flushes_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a write gets through before the disk is full; once there is room the same place is written over."""
    writer = lines.LineWriter(tmp_path / "events.jsonl", time.monotonic)
    writer.write("one")
    writer.flush()
    real = os.pwrite
    with monkeypatch.context() as full:
        answers = iter([lambda h, c, at: real(h, c[:2], at), refuse(errno.ENOSPC)])
        full.setattr(lines.os, "pwrite", lambda *words: next(answers)(*words))
        writer.write("two")
        with pytest.raises(RecordError):
            writer.flush()
    writer.write("three")
    writer.flush()
    assert (tmp_path / "events.jsonl").read_text() == "one\ntwo\nthree\n"


def test_a_read_only_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: the tests may run as root, whom no mode stops."""
    monkeypatch.setattr(Path, "mkdir", refuse(errno.EROFS))
    with (
        pytest.raises(
            RecordError, match="Read-only file system; free some disk space, or use a results folder"
        ),
        Store(tmp_path / "results").open(SPEC, ENV),
    ):
        pass


def test_a_sealed_record_is_never_overwritten(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV) as writer:
        (tmp_path / writer.run_id).mkdir()
        (tmp_path / writer.run_id / "mine").touch()
        with pytest.raises(RecordError, match="never overwritten"):
            writer.seal(summary_of(writer))
        (tmp_path / writer.run_id / "mine").unlink()
        (tmp_path / writer.run_id).rmdir()


def test_a_record_killed_between_read_only_and_rename_is_sealed_by_the_next_run_of_an_ordinary_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: the tests may run as root, whom no mode stops."""
    sealed = write_run(tmp_path)
    left = tmp_path / ".open" / sealed.name
    sealed.rename(left)
    real = Path.open

    def as_ordinary_user(path: Path, mode: str = "r", *words: object, **more: object) -> object:
        if set(mode) & set("wa+") and path.exists() and not path.stat().st_mode & 0o200:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, mode, *words, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", as_ordinary_user)
    with Store(tmp_path).open(replace(SPEC, seed=7), ENV) as other:
        assert other.swept == (
            f"{left.name} was killed while it was being sealed; it is sealed now as ok",
        )
    assert verify(sealed) == []


def test_a_sigterm_that_python_drops_in_a_callback_comes_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Python prints and drops what is raised in a weak reference's callback, such as importlib's: the run went on."""
    thing = type("Thing", (), {})()
    passed, reference = [], weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))

    def run() -> None:
        nonlocal thing
        with terminable():
            thing = None
            passed.append("the callback")
            time.sleep(5)
            passed.append("the time in which it has to come")

    with pytest.raises(Terminated):
        run()
    assert passed == ["the callback"]
    assert reference() is None
    assert "Traceback" not in capfd.readouterr().err


def test_a_temporary_file_of_a_killed_writer_is_not_sealed_with_the_record(tmp_path: Path) -> None:
    folder = tmp_path / ".open"
    with Store(tmp_path).open(SPEC, ENV) as writer:
        writer.event(STEPS)
        (folder / writer.run_id / ".probes.json.1.tmp").write_text("{")
        sealed = writer.seal(summary_of(writer))
    assert not [path for path in sealed.iterdir() if path.name.startswith(".")]
