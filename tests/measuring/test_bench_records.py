"""Records of speeds: sealed whole, read strictly, never with a path of this machine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RecordError
from harness.records.bench import bench_folders, load_bench, load_benches, seal_bench, verify_bench
from harness.records.files import SUMS, sums_text

BRIEF = ("--windows", "5", "--set", "batch_size=4", "--save", "--no-peers")


@pytest.fixture
def saved(call: Any, brief: None) -> Path:
    said = call("bench", "step", "no_lrn", *BRIEF, "--json")
    assert said.code == 0, said.err
    return Path(json.loads(said.out)["record"])


def test_a_saved_result_is_read_as_it_was_measured(saved: Path, call: Any) -> None:
    record = load_bench(saved)
    assert bench_folders(Path("results")) == [saved]
    assert record.path.name == record.result.bench_id
    assert (record.result.kind, next(iter(record.result.timings))) == ("step", "step")
    assert record.spec.variant == "no_lrn"
    assert record.env.torch is not None
    assert record.result.main.windows == 5
    nulls = {name for name, held in record.result.values.items() if held is None}
    assert nulls <= set(record.result.missing)
    assert all(not file.stat().st_mode & 0o222 for file in saved.iterdir())
    said = call("verify")
    assert (said.code, said.out) == (0, "1 of 1 records are unchanged since they were sealed\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("bench.json", '"windows": 5', '"windows": 6', "checksum differs"),
        ("SHA256SUMS", "  bench.json", "  other.json", "other.json is missing"),
    ],
)
def test_a_changed_record_is_refused(
    saved: Path, call: Any, file: str, old: str, new: str, problem: str
) -> None:
    (saved / file).chmod(0o644)
    (saved / file).write_text((saved / file).read_text().replace(old, new))
    with pytest.raises(RecordError, match=problem):
        load_bench(saved)
    assert problem in verify_bench(saved)[0]
    assert call("verify").code == 1
    records, refused = load_benches(Path("results"))
    assert (records, [one.run_id for one in refused]) == ([], [saved.name])


def resealed(folder: Path, **changes: Any) -> None:
    """With these fields of bench.json, and checksums that fit."""
    for name in ("bench.json", SUMS):
        (folder / name).chmod(0o644)
    held = json.loads((folder / "bench.json").read_text())
    (folder / "bench.json").write_text(json.dumps(held | changes))
    (folder / SUMS).write_text(sums_text(folder))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "schema_version is 2; this harness reads 1"),
        ({"bench_id": "other"}, "bench.json says other"),
        ({"timings": {}}, "holds no timing"),
        ({"surprise": 1}, "surprise"),
        ({"warm_up_windows": -1}, "warm_up_windows"),
    ],
)
def test_what_no_harness_would_have_written_is_refused(
    saved: Path, changes: dict[str, Any], problem: str
) -> None:
    resealed(saved, **changes)
    with pytest.raises(RecordError, match=problem):
        load_bench(saved)


def test_two_records_of_one_second_have_two_names(saved: Path, call: Any, brief: None) -> None:
    record, now = load_bench(saved), datetime(2000, 1, 1, tzinfo=UTC)
    first, second = (
        seal_bench(Path("results"), record.spec, record.env, record.result, now) for _ in range(2)
    )
    assert second.name == f"{first.name}-2"
    assert not verify_bench(second)
