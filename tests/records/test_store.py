"""The record store: what is written, sealed, read back, refused and verified."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calling import finished
from fake_run import ENV, IMAGES, MACHINE, NOON, RIGHT, SPEC, STEPS, summary_of, write_run

from harness.errors import AlreadyRunning, RecordError
from harness.events import Evaluated, TrainingStarted
from harness.records.files import sums_text
from harness.records.schema import Summary
from harness.records.store import TRIAL, RunRecord, Store, run_id_of
from harness.records.verify import verify
from harness.serialization import from_json
from variants.recipes.recipe import ADDED, LateChange
from variants.values import value


def test_everything_written_is_read_back_equal(tmp_path: Path) -> None:
    record = RunRecord.load(write_run(tmp_path))
    assert record.spec == SPEC
    assert record.env == ENV
    assert record.events() == [STEPS]
    assert record.telemetry()[0].values == {"cpu_s": 1.5}
    assert np.array_equal(record.correct("centre", 1), RIGHT)
    assert record.correct("centre", 5).tolist() == [True] * IMAGES
    assert np.array_equal(record.array("conv1"), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert record.probes() == {"requested_hz": 1.0}
    assert record.summary.results["centre"].images == IMAGES


def test_a_record_is_named_by_time_names_and_digest(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    assert path == tmp_path / f"20260131T120000Z-tiny-mini-synthetic-s0-{SPEC.digest[:8]}"
    assert write_run(tmp_path).name == f"{path.name}-2"  # the same second
    odd = replace(SPEC, variant="../x y", data=replace(SPEC.data, name="a/b"))
    assert run_id_of(odd, NOON).startswith("20260131T120000Z-_x_y-mini-a_b-s0-")


def test_sealed_files_are_read_only_and_nothing_is_left_open(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    assert not [file.name for file in path.iterdir() if file.stat().st_mode & 0o222]
    assert [item.name for item in (tmp_path / ".open").iterdir() if item.is_dir()] == []


def test_sha256sum_accepts_the_checksums(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=write_run(tmp_path), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_spec_and_environment_stand_on_disk_before_the_first_event(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV) as writer:
        assert {file.name for file in writer.folder.iterdir()} == {
            "spec.json",
            "env.json",
            ".reserved.tmp",
        }


def test_events_reach_the_disk_at_most_once_a_second(tmp_path: Path) -> None:
    time_s = [0.0]
    with Store(tmp_path).open(SPEC, ENV, clock=lambda: time_s[0]) as writer:
        file = writer.folder / "events.jsonl"
        writer.event(STEPS)
        assert not file.exists()
        time_s[0] = 1.0
        writer.event(STEPS)
        assert file.read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), "interrupted", "Ctrl-C after 2 steps"),
        (ValueError("bad\nmore"), "failed", "ValueError: bad"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
)
def test_leaving_without_sealing_seals_the_reason(
    tmp_path: Path, error: BaseException, status: str, said: str
) -> None:
    def run() -> None:
        with Store(tmp_path).open(SPEC, ENV) as writer:
            writer.add_summary_fields(loader="ffcv", loader_reason="it works here")
            writer.event(STEPS)
            raise error

    with pytest.raises(type(error)):
        run()
    (record,) = Store(tmp_path).records()
    summary = record.summary
    assert (summary.status, summary.steps, summary.images_seen, summary.loader) == (
        status,
        2,
        8,
        "ffcv",
    )
    assert said in str(summary.status_reason)
    assert summary.results == {}
    assert summary.train_s is None
    assert said in summary.missing["train_s"]
    assert verify(record.path) == []


def test_a_block_that_ends_without_a_result_is_a_failure(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV):
        pass
    assert Store(tmp_path).records()[0].summary.status_reason == "the run ended without a result"


def test_fail_keeps_what_the_caller_knows(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV) as writer:
        path = writer.fail("failed", "the loss is not finite at step 7", steps=7, train_s=1.5)
    summary = RunRecord.load(path).summary
    assert (summary.steps, summary.train_s, "train_s" in summary.missing) == (7, 1.5, False)


def test_an_interrupt_while_sealing_still_seals_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.rename, []

    def rename(source: Path, target: Path) -> None:
        calls.append(source)
        if Path(source).name == TRIAL:
            calls.pop()
        elif len(calls) == 1:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path)
    (record,) = Store(tmp_path).records()
    assert record.summary.status == "ok"
    assert verify(record.path) == []


def test_the_same_run_twice_at_once_is_refused_naming_the_process(tmp_path: Path) -> None:
    with (
        Store(tmp_path).open(SPEC, ENV),
        pytest.raises(AlreadyRunning, match=f"in process {os.getpid()}"),
        Store(tmp_path).open(SPEC, ENV),
    ):
        pass
    assert len(Store(tmp_path).records()) == 1


def test_different_runs_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    with (
        Store(tmp_path).open(SPEC, ENV) as first,
        Store(tmp_path).open(replace(SPEC, seed=1), ENV) as second,
    ):
        assert second.swept == ()
        second.fail("failed", "for the test")
        first.event(STEPS)
    assert len(Store(tmp_path).records()) == 2


def test_finished_counts_only_own_ok_records_of_this_machine(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert finished(store, MACHINE) == set()
    with store.open(SPEC, ENV):
        pass  # failed
    assert finished(store, MACHINE) == set()
    write_run(tmp_path)
    assert finished(store, MACHINE) == {SPEC.digest}
    assert finished(store, "b" * 32) == set()


def test_reference_records_are_read_apart_and_never_count_as_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = write_run(tmp_path)
    home = tmp_path / "reference" / "reproduce"
    home.mkdir(parents=True)
    path.rename(home / path.name)
    assert store.records() == []
    assert [record.run_id for record in store.verified_reference("reproduce").records] == [path.name]
    assert store.verified_reference("another").records == []
    assert len(store.verified_reference().records) == 1
    assert finished(store, MACHINE) == set()
    assert store.folders() == [home / path.name]


def test_a_missing_results_folder_has_no_records(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").records() == []
    assert Store(tmp_path / "none").folders() == []


def test_one_flipped_byte_is_found_in_any_file(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    assert verify(path) == []
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        file.chmod(0o644)
        file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert verify(path), f"a flipped byte in {file.name} went unseen"
        file.write_bytes(whole)
    assert verify(path) == []


def test_missing_extra_linked_and_renamed_are_found(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    (path / "notes.txt").write_text("mine")
    assert verify(path) == ["notes.txt was not there when the record was sealed"]
    (path / "notes.txt").unlink()
    moved = path.rename(tmp_path / "elsewhere")
    assert "folder is named elsewhere" in verify(moved)[0]
    moved.rename(path)
    (path / "events.jsonl").rename(tmp_path / "events.jsonl")
    assert verify(path) == ["events.jsonl is missing"]
    (path / "events.jsonl").symlink_to(tmp_path / "events.jsonl")
    assert "events.jsonl is not a plain file" in verify(path)
    assert verify(tmp_path / "nothing") == [f"{tmp_path / 'nothing'} is not a folder"]


def test_a_record_with_a_foreign_digest_or_version_is_found(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV) as writer:
        path = writer.seal(replace(summary_of(writer), spec_digest="0" * 64, schema_version=99))
    problems = verify(path)
    assert any("schema_version 99" in problem for problem in problems)
    assert any("digest" in problem for problem in problems)


def test_a_record_sealed_before_a_field_was_added_is_still_whole(tmp_path: Path) -> None:
    """Its digest is that of the text it holds; LateChange.parameter and RunSpec.layout came later and have defaults."""
    late = (LateChange(at_epoch=1.0, layer="conv1", lr=0.0),)
    path = write_run(tmp_path, replace(SPEC, recipe=replace(SPEC.recipe, late_changes=late)))
    spec, summary = path / "spec.json", path / "summary.json"
    for file in (spec, summary, path / "SHA256SUMS"):
        file.chmod(0o644)
    new = RunRecord.load(path).spec.digest
    spec.write_text(
        spec.read_text().replace(',"parameter":null', "").replace('"layout":"one_device",', "")
    )
    plain = json.loads(spec.read_text())
    plain["variant"] = plain["recipe"]["name"] = ""
    plain["recipe"] = {name: held for name, held in plain["recipe"].items() if name not in ADDED}
    old = hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    assert old != new
    summary.write_text(summary.read_text().replace(new, old))
    (path / "SHA256SUMS").write_text(sums_text(path))
    assert verify(path) == []


def test_unknown_fields_pickles_and_cut_lines_are_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path)
    (path / "evil.npy").write_bytes(b"\x80\x04.")
    with pytest.raises(RecordError, match="not a plain numpy array"):
        RunRecord.load(path).array("evil")
    events = path / "events.jsonl"
    events.chmod(0o644)
    events.write_text(events.read_text() + '{"t_s"')
    with pytest.raises(RecordError, match="cut"):
        RunRecord.load(path).events()
    spec = path / "spec.json"
    spec.chmod(0o644)
    spec.write_text(spec.read_text().replace('"seed":0', '"seed":0,"more":1'))
    with pytest.raises(RecordError, match=r"more.*verify"):
        RunRecord.load(path)
    with pytest.raises(RecordError):  # a report must not leave a record out in silence
        Store(tmp_path).records()
    assert finished(Store(tmp_path), MACHINE) == set()


def test_asking_for_a_protocol_that_was_not_run_names_those_that_were(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="'ten_view'; it has: centre"):
        RunRecord.load(write_run(tmp_path)).correct("ten_view", 1)


def test_wrong_shapes_and_names_are_refused_at_once(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV) as writer:
        with pytest.raises(TypeError, match=r"top1 must be \(images,\) bool"):
            writer.write_correct("centre", RIGHT.astype(np.int64), RIGHT)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="file name"):
            writer.array("../x", np.zeros(1))


def test_events_carry_the_time_since_the_run_started(tmp_path: Path) -> None:
    time_s = [5.0]
    with Store(tmp_path).open(SPEC, ENV, clock=lambda: time_s[0]) as writer:
        time_s[0] = 7.25
        writer.event(TrainingStarted(steps=2, images_per_epoch=8, parameters=202))
        path = writer.fail("failed", "for the test")
    assert [stamped.t_s for stamped in RunRecord.load(path).timeline()] == [2.25]


def test_evaluations_survive_the_round_trip(tmp_path: Path) -> None:
    event = Evaluated(
        step=2,
        epoch=1,
        protocol="centre",
        final=True,
        top1_error=0.1,
        top5_error=0,
        loss=0.3,
        images=9,
        elapsed_s=0.1,
    )
    with Store(tmp_path).open(SPEC, ENV) as writer:
        writer.event(event)
        path = writer.fail("failed", "for the test")
    assert RunRecord.load(path).events() == [event]


def test_a_summary_field_added_with_a_default_leaves_sealed_records_readable(tmp_path: Path) -> None:
    @value
    class Wider(Summary):
        disk_temperature_c: float | None = None

    text = (write_run(tmp_path) / "summary.json").read_bytes()
    assert from_json(text, Wider).disk_temperature_c is None


def test_a_run_without_result_has_a_reason_for_each_null(tmp_path: Path) -> None:
    with Store(tmp_path).open(SPEC, ENV) as writer:
        path = writer.fail("failed", "for the test")
    summary = RunRecord.load(path).summary
    nulls = {name for name, number in vars(summary).items() if number is None}
    assert nulls == set(summary.missing)
    assert set(summary.missing.values()) == {"for the test"}
