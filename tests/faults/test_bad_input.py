"""Bad input at the command line: the documented exit code, one sentence on stderr, no traceback unless asked for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import run_on
from faulty import refuse

import harness.cli.reproduce as reproduce_command
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.machine.collect_env import describe
from harness.placement import Placement
from harness.records.store import Store
from harness.resolve import RunRequest, run_spec
from harness.studies.workers import DeviceGivenUp, Ended, Started, _ended

USAGE, DATA, FAILED, RECORD, RUNNING = 2, 3, 4, 5, 6


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("run --variant no_lnr", USAGE, "no variant 'no_lnr'. Did you mean 'no_lrn'?"),
        ("run --variant no_lrn --recipe min", USAGE, "no recipe 'min'. Did you mean 'mini'?"),
        (
            "run --variant no_lrn --data fashion",
            USAGE,
            "no data set 'fashion'. Did you mean 'fashion_mnist'?",
        ),
        ("reproduce --study reprodce", USAGE, "no study 'reprodce'. Did you mean 'reproduce'?"),
        (
            "reproduce --variants grouped_2gpu,no_lnr",
            USAGE,
            "no variant 'no_lnr'. Did you mean 'no_lrn'?",
        ),
        ("report reprodce", USAGE, "no study 'reprodce'. Did you mean 'reproduce'?"),
        ("show no_lnr", USAGE, "no variant 'no_lnr'. Did you mean 'no_lrn'?"),
        ("data prepare cifar", USAGE, "no data set 'cifar'. Did you mean 'cifar10'?"),
        ("run --variant cifar_11pct", USAGE, "cifar_11pct has no mini geometry"),
        ("run --variant article --data synthetic --recipe article", USAGE, "article trains a box head"),
        ("run --variant no_lrn --device banana", USAGE, "no device 'banana'; use cpu, cuda"),
        ("run --variant no_lrn --device meta", USAGE, "no device 'meta'; use cpu, cuda"),
        ("run --variant no_lrn --device cuda:77", USAGE, "device 'cuda:77' can't be used: "),
        (
            "run --variant no_lrn --data synthetic --save-weights no/such.safetensors",
            USAGE,
            "the weights can't be",
        ),
        ("run --variant no_lrn --data folder --path nowhere", DATA, "there is no folder "),
        ("run --variant no_lrn --data folder", USAGE, "folder is not prepared at 36 pixels"),
        (
            "eval --variant no_lrn --weights no.safetensors --data synthetic",
            USAGE,
            "no file of weights at no.safe",
        ),
        ("verify nowhere", 1, "1 of 1 records failed the check"),
    ],
)
def test_what_does_not_exist_or_go_together(call: Any, words: str, code: int, sentence: str) -> None:
    said = call(*words.split())
    assert said.code == code
    assert said.error.startswith(sentence)


@pytest.mark.parametrize(
    "words", ["run --variant no_lrn --colour blue", "run", "runn", "run --variant x --seed one"]
)
def test_a_wrong_option_is_reported_with_the_usage(call: Any, words: str) -> None:
    said = call(*words.split())
    assert said.code == USAGE
    assert "Usage: python -m harness" in said.err
    assert "Traceback" not in said.err


def test_debug_shows_the_traceback_wherever_it_stands(call: Any) -> None:
    for words in (["--debug", "show", "no_lnr"], ["show", "no_lnr", "--debug"]):
        said = call(*words)
        assert said.code == USAGE
        assert "Traceback" in said.err
        assert said.err.rstrip().splitlines()[-1].startswith("error: no variant 'no_lnr'")


def empty(root: Path) -> None:
    for file in root.rglob("*.png"):
        file.unlink()


def extra_class(root: Path) -> None:
    (root / "val/e").mkdir()
    (root / "val/a/0.png").rename(root / "val/e/0.png")


def no_val(root: Path) -> None:
    (root / "val").rename(root / "other")


def bad_files(root: Path) -> None:
    whole = (root / "train/a/0.png").read_bytes()
    (root / "train/a/0.png").write_bytes(whole[: len(whole) // 2])
    (root / "val/b/notes.png").write_text("not an image")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (empty, "holds no images; fill it, or remove the folder"),
        (extra_class, "has a class 'e' that train/ lacks"),
        (no_val, "has no folder val/"),
        (bad_files, "2 of 21 files can't be read as images"),
    ],
)
@pytest.mark.parametrize("words", ["run --variant no_lrn --data folder", "data prepare folder"])
def test_folders_that_are_no_data_set(
    call: Any, class_folders: Path, damage: Callable[[Path], None], sentence: str, words: str
) -> None:
    damage(class_folders)
    said = call(*words.split(), "--path", class_folders)
    assert said.code == DATA
    assert sentence in said.error


def test_bad_files_are_skipped_when_asked_and_from_then_on(call: Any, class_folders: Path) -> None:
    bad_files(class_folders)
    words = ("run", "--variant", "no_lrn", "--data", "folder", "--path", class_folders)
    assert "2 of 21 files" in call(*words).error
    assert call("data", "prepare", "folder", "--path", class_folders, "--skip-bad-images").code == 0
    said = call(*words)
    assert said.code == 0
    assert (
        "folder: 2 unreadable images are left out, since it was prepared with --skip-bad-images\n"
        in said.err
    )
    (record,) = Store(Path("results")).records()
    assert (record.spec.data.train_images, record.spec.data.val_images) == (11, 8)


@pytest.fixture
def run_words(class_folders: Path) -> tuple[str, ...]:
    return run_on(class_folders)


@pytest.mark.parametrize("command", ["run", "reproduce"])
def test_results_that_are_a_file_are_reported_before_any_work(
    call: Any, run_words: tuple[str, ...], command: str, tmp_path: Path
) -> None:
    Path("results").touch()
    words = run_words if command == "run" else ("reproduce", "--variants", *run_words[2:])
    said = call(*words)
    assert said.code == RECORD
    assert said.error.startswith("can't write results/.open: Not a directory; ")
    assert not (tmp_path / "cache/data").exists()


def test_a_read_only_results_folder(
    call: Any, run_words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: tests may run as root, whom no mode stops."""
    Path("results/.open").mkdir(parents=True)
    real = os.open

    def read_only(path: Any, flags: int, *more: Any, **named: Any) -> int:
        return refuse(errno.EROFS)() if ".open/" in str(path) else real(path, flags, *more, **named)

    with monkeypatch.context() as mounted:
        mounted.setattr(os, "open", read_only)
        said = call(*run_words)
    assert said.code == RECORD
    assert (
        "Read-only file system; free some disk space, or use a results folder that you may write to"
        in said.error
    )


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("harness.data.prepare.manifest.os.fsync", DATA),
        ("harness.records.lines.os.pwrite", RECORD),
        ("harness.records.writer.write_file", RECORD),
        ("harness.report.render.write_atomically", RECORD),
        ("harness.report.render.tempfile.TemporaryDirectory", RECORD),
    ],
)
def test_a_full_disk_is_one_sentence_and_the_next_call_works(
    call: Any, run_words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    if "report" in where:
        assert call(*run_words).code == 0
    words = ("report",) if "report" in where else run_words
    with monkeypatch.context() as full:
        full.setattr(where, refuse(errno.ENOSPC))
        said = call(*words)
    assert said.code == code
    assert "o space left on device" in said.error or "the disk is full" in said.error
    assert call(*words).code == 0
    assert call("verify").code == 0
    assert not [path for path in Path("results/.open").iterdir() if path.is_dir()]


def test_the_same_run_twice_at_once(call: Any, run_words: tuple[str, ...], class_folders: Path) -> None:
    prepared = prepare(
        "folder", StoreSettings(store_size=36), path=class_folders, loader="folder", workers=1
    )
    spec = run_spec(RunRequest("no_lrn", "mini", "folder", 0, class_folders), prepared, "cpu")
    with Store(Path("results")).open(spec, describe(Path("results"), Placement())) as writer:
        said = call(*run_words, "--device", "cpu")
        writer.fail("failed", "for a test")
    assert said.code == RUNNING
    assert said.error == (
        f"the same run is going on in process {os.getpid()}; wait for it to end, or stop it with: kill {os.getpid()}"
    )


def test_a_loss_that_is_no_number_stops_the_run_and_is_sealed(
    call: Any, run_words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harness.loss.classification_loss", lambda logits, labels, loss: logits.sum() * float("nan")
    )
    said = call(*run_words)
    assert said.code == FAILED
    assert said.error.startswith("the loss is nan at step 1 of 1 (learning rate ")
    (record,) = Store(Path("results")).records()
    assert record.summary.status == "failed"
    assert "the loss is nan at step 1 of 1" in str(record.summary.status_reason)
    assert call("verify").code == 0


def test_a_study_with_a_failing_run_finishes_the_others_and_reports_it(
    call: Any, run_words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of a study are other processes, so here the tasks are done in this one."""

    def in_this_process(tasks: Any, work: Any, environments: Any, may_start: Any) -> Any:
        for number, task in enumerate(tasks):
            yield Started(number)
            yield _ended(work, number, task, lambda event: None)

    calls = iter(range(99))

    def once_nan(logits: Any, labels: Any, loss: Any) -> Any:
        return logits.square().mean() * (float("nan") if next(calls) == 0 else 1.0)

    monkeypatch.setattr(reproduce_command, "run_all", in_this_process)
    monkeypatch.setattr("harness.loss.classification_loss", once_nan)
    said = call("reproduce", "--variants", "grouped_2gpu,no_lrn", "--seeds", "1", *run_words[3:])
    assert said.code == FAILED
    assert said.error.startswith(
        "1 of 2 runs ended without a result; the report lists them. First: grouped_2gpu seed 0: the loss is nan at step"
    )
    assert sorted(record.summary.status for record in Store(Path("results")).records()) == [
        "failed",
        "ok",
    ]
    assert "the loss is nan at step 1" in Path("reports/reproduce/report.md").read_text()


def test_a_study_whose_only_gpu_is_lost_says_which_and_what_is_left(
    call: Any, run_words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What run_all does then is tested in tests/unit/test_workers.py."""

    def lost(tasks: Any, work: Any, environments: Any, may_start: Any) -> Any:
        for number in range(2):
            yield Started(number)
            yield Ended(number, "cuda (GPU-a) failed: unspecified launch failure", device_lost=True)
        yield DeviceGivenUp({"CUDA_VISIBLE_DEVICES": "GPU-a"})

    monkeypatch.setattr(reproduce_command, "run_all", lost)
    words = ("--variants", "grouped_2gpu,no_lrn,ungrouped", "--seeds", "1", "--jobs", "1")
    said = call("reproduce", *words, *run_words[3:])
    assert said.code == FAILED
    assert "\nGPU-a has failed 2 times in a row and is used no more\n" in said.err
    assert "\nno device is left for 1 run; repeat the command when one works again\n" in said.err
    assert said.error.startswith("2 of 2 runs ended without a result; ")
    assert said.error.endswith("grouped_2gpu seed 0: cuda (GPU-a) failed: unspecified launch failure")
