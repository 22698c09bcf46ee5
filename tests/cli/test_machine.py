"""`doctor` and `verify`: what they print, and their exit codes."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from faulty import NoDriver

from harness.cli import machine
from harness.errors import HarnessError, UsageError
from harness.machine import doctor


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def found(results: Path, **more: Any) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(results, **more)}


def test_everything_the_job_needs_is_looked_at(tmp_path: Path) -> None:
    assert set(found(tmp_path)) == {
        "Python", "CPU", "libraries", "torch", "CUDA", "NVML", "FFCV", "data", "results folder", "cache folder", "disk",
    }  # fmt: skip


def test_no_gpu_is_absent_and_fine(tmp_path: Path) -> None:
    finding = found(tmp_path, nvml=NoDriver())["NVML"]
    assert finding.state == "absent"
    assert "no driver" in finding.detail


def test_ffcv_that_does_not_work_is_absent_with_the_command_that_fixes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        doctor.ffcv, "status", lambda: (False, "ffcv is not installed; fix it with: python -m x")
    )
    finding = doctor.loader()
    assert finding.state == "absent"
    assert finding.detail == "ffcv is not installed; not needed: the folder loader is used instead"
    assert finding.fix == "python -m harness.setup.ffcv"


def test_data_that_is_not_prepared_names_the_command(empty_cache: Path) -> None:
    finding = doctor.data()
    assert (finding.state, finding.fix) == ("absent", "python -m harness data prepare fashion_mnist")
    (empty_cache / "data" / "fashion_mnist-torn").mkdir(parents=True)
    (empty_cache / "data" / "fashion_mnist-torn" / "manifest.json").write_text("{")
    assert doctor.data().state == "absent"


def test_a_library_or_torch_that_is_gone_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: None if name == "timm" else "1")
    assert doctor.libraries().detail == "not installed: timm"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor.torch().state == "missing"
    assert doctor.cuda().state == "absent"


def test_a_folder_that_can_not_be_written_or_is_full_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**where: object) -> None:
        raise OSError(30, "Read-only file system")

    assert doctor.writable("x", tmp_path / "new" / "deep", "y").state == "ok"
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = doctor.writable("results folder", tmp_path, "fix it")
    assert (finding.state, finding.fix) == ("missing", "fix it")
    monkeypatch.setattr(doctor, "disk_free_mib", lambda folder: 100)
    assert doctor.disk(tmp_path).state == "missing"


def test_a_disk_that_does_not_tell_its_free_space_is_not_called_full(tmp_path, monkeypatch):
    def fails(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", fails)
    found = doctor.disk(tmp_path)
    assert (found.state, found.detail) == (
        "absent",
        f"the free space on the disk of {tmp_path} can't be read",
    )


def test_doctor_prints_json_and_fails_only_for_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = doctor.Finding("FFCV", "absent", "not here", "fix it")
    missing = doctor.Finding("torch", "missing", "does not load", "pip install torch")
    monkeypatch.setattr(doctor, "examine", lambda results: [absent])
    machine.doctor(json=True, results=tmp_path)
    told = json.loads(capsys.readouterr().out)
    assert told == {"ok": True, "findings": [vars(absent)]}
    monkeypatch.setattr(doctor, "examine", lambda results: [absent, missing])
    with pytest.raises(HarnessError, match="missing: torch"):
        machine.doctor(json=False, results=tmp_path)
    text = capsys.readouterr().out
    assert "missing torch  does not load\n" in text
    assert "to fix: pip install torch" in text


def test_verify_prints_each_problem_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HarnessError, match="1 of 1 records failed the check"):
        machine.verify([tmp_path], tmp_path, json=False)
    assert "SHA256SUMS: No such file or directory" in capsys.readouterr().out
    with pytest.raises(HarnessError):
        machine.verify([tmp_path], tmp_path, json=True)
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_verify_without_records_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine.verify(None, tmp_path, json=False)
    assert capsys.readouterr().out == f"no records under {tmp_path}\n"


def test_verify_of_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*none; give the one that holds records"):
        machine.verify(None, tmp_path / "none", json=False)
