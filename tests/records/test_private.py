"""No path of the machine in a sealed record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import ENV, SPEC

from harness.probes.base import Sample
from harness.records.private import without_paths
from harness.records.store import RunRecord, Store


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            "can't read /home/jane/images/a.png: Permission denied",
            "can't read <path>: Permission denied",
        ),
        ("No such file: '/mnt/my disk/a.png'", "No such file: '<path>'"),
        ("see /data/x.beton, /data/y.beton and ~/z", "see <path>, <path> and <path>"),
        ("see ../pictures/a.png.", "see <path>."),
        ("12.5 images/second and/or 1/2 of https://example.org/a/b", None),
        ("n/a: top-1 / top-5", None),
        ("", None),
    ],
)
def test_paths_become_a_word_and_other_slashes_stay(said: str, kept: str | None) -> None:
    assert without_paths(said) == (said if kept is None else kept)


def test_known_folders_may_hold_spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    said = f"{tmp_path}/my home/cache/x.beton is short; {tmp_path}/my results/.open/r1 is full"
    assert without_paths(said, tmp_path / "my results") == "<path> is short; <path> is full"


def test_an_existing_relative_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "janes_images" / "train").mkdir(parents=True)
    assert without_paths("janes_images/train is empty") == "<path> is empty"
    assert without_paths("other_images/train is empty") == "other_images/train is empty"


def test_a_sealed_failure_names_no_path(tmp_path: Path) -> None:
    def run() -> None:
        with Store(tmp_path / "results").open(SPEC, ENV) as writer:
            writer.add_summary_fields(
                loader="folder", loader_reason=f"{tmp_path}/lib.so can't be loaded"
            )
            raise FileNotFoundError(2, "No such file or directory", str(tmp_path / "images" / "a.png"))

    with pytest.raises(FileNotFoundError):
        run()
    (record,) = Store(tmp_path / "results").records()
    assert isinstance(record, RunRecord)
    assert (
        record.summary.status_reason
        == "FileNotFoundError: [Errno 2] No such file or directory: '<path>'"
    )
    assert str(tmp_path) not in (record.path / "summary.json").read_text()


def test_reasons_in_samples_probes_and_environment_name_no_path(tmp_path: Path) -> None:
    reason = f"can't load {tmp_path}/libnvml.so: Permission denied"
    env = replace(ENV, missing=ENV.missing | {"nvml": reason})
    with Store(tmp_path / "results").open(SPEC, env) as writer:
        writer.sample(
            Sample(t_s=0.5, probe="nvml", device="nvml", values={"x": None}, missing={"x": reason})
        )
        writer.probes(
            {"missing": {"nvml": reason, "disks": ["", {"why": reason}]}, "requested_hz": 1.0}
        )
    assert writer.sealed is not None
    (record,) = Store(tmp_path / "results").records()
    said = "can't load <path>: Permission denied"
    assert record.telemetry()[0].missing == {"x": said}
    assert record.probes()["missing"] == {"nvml": said, "disks": ["", {"why": said}]}
    assert record.env.missing["nvml"] == said
    for path in writer.sealed.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
