"""Users' own images from the command line: what was prepared is what is trained on, and a study lists it once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.records.store import Store

RUN = ("run", "--variant", "no_lrn", "--data", "folder", "--loader", "folder")


def test_what_was_prepared_with_limits_is_trained_on(call: Any, class_folders: Path) -> None:
    limits = ("--limit-train", "8", "--limit-val", "4")
    prepared = call("data", "prepare", "folder", "--path", class_folders, "--loader", "folder", *limits)
    assert prepared.code == 0
    said = call(*RUN, *limits)
    assert said.code == 0
    (record,) = Store(Path("results")).records()
    assert (record.spec.data.train_images, record.spec.data.val_images) == (8, 4)
    assert prepared.out.splitlines()[-1] == f"digest of the images: {record.spec.data.listing}"


def test_without_a_path_a_run_names_the_images_it_takes(
    call: Any, class_folders: Path, tmp_path: Path
) -> None:
    assert call("data", "prepare", "folder", "--path", class_folders, "--loader", "folder").code == 0
    said = call(*RUN)
    assert said.code == 0
    taken = f"folder: 12 training and 8 validation images of {class_folders}, as prepared in {tmp_path}/cache/data/"
    assert taken in said.err


def test_what_is_not_prepared_is_answered_with_its_own_options(call: Any, class_folders: Path) -> None:
    said = call(*RUN, "--limit-train", "8", "--limit-val", "4")
    assert said.code == 2
    assert "--path FOLDER --size 36 --limit-train 8 --limit-val 4" in said.error


def test_one_limit_alone_is_refused(call: Any, class_folders: Path) -> None:
    assert "give both --limit-train and --limit-val" in call(*RUN, "--limit-train", "8").error


def test_what_was_stored_as_jpeg_is_trained_on(call: Any, class_folders: Path) -> None:
    pytest.importorskip("ffcv")
    jpeg = ("--format", "jpeg", "--jpeg-quality", "80")
    assert call("data", "prepare", "folder", "--path", class_folders, *jpeg).code == 0
    said = call("run", "--variant", "no_lrn", "--data", "folder", *jpeg)
    assert said.code == 0
    (record,) = Store(Path("results")).records()
    assert (record.spec.data.store_format, record.spec.data.jpeg_quality) == ("jpeg", 80)


def test_ignored_files_are_counted_and_reported(call: Any, class_folders: Path) -> None:
    (class_folders / "train/a/notes.txt").touch()
    said = call("data", "prepare", "folder", "--path", class_folders, "--loader", "folder")
    assert "folder: 1 files are ignored, since they have no image suffix\n" in said.out


def test_flat_validation_images_are_sorted_by_the_command_that_the_error_names(
    call: Any, class_folders: Path
) -> None:
    rows = []
    for file in list((class_folders / "val").rglob("*.png")):
        rows.append(f"{file.name},{file.parent.name}\n")
        file.rename(class_folders / "val" / file.name)
    for name in "abcd":
        (class_folders / "val" / name).rmdir()
    Path("labels.csv").write_text("".join(rows))
    words = ("data", "prepare", "folder", "--path", class_folders, "--loader", "folder")
    assert f"data sort {class_folders}/val --labels LABELS" in call(*words).error
    said = call("data", "sort", class_folders / "val", "--labels", "labels.csv")
    assert said.out == f"8 images are now in 4 class folders of {class_folders}/val\n"
    assert call(*words).code == 0


def test_a_study_lists_the_images_once(
    call: Any, class_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers are other processes; they would fail where the source is gone."""
    from harness.cli import reproduce

    real = reproduce.load

    def load_and_remove(*words: Any) -> Any:
        prepared = real(*words)
        (class_folders / "val").rename(class_folders / "elsewhere")
        return prepared

    monkeypatch.setattr(reproduce, "load", load_and_remove)
    pytest.importorskip("ffcv")
    words = (
        "--variants",
        "no_lrn",
        "--data",
        "folder",
        "--path",
        class_folders,
        "--seeds",
        "1",
        "--jobs",
        "1",
    )
    said = call("reproduce", *words)
    assert said.code == 0, said.err
    (record,) = Store(Path("results")).records()
    assert json.loads((record.path / "summary.json").read_text())["status"] == "ok"
