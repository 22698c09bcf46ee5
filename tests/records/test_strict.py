"""Records come from others: what is wrong in one is a sentence in `verify` and `verified`, never a crash."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import finished
from fake_run import ENV, IMAGES, RIGHT, SPEC, STEPS, summary_of, write_run
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import RecordError
from harness.probes.base import Sample
from harness.records.files import sums_text
from harness.records.record import RunRecord
from harness.records.store import Store
from harness.records.tables import curves_table, runs_table, telemetry_table
from harness.records.verify import load_verified, verify

JSON = ("spec.json", "env.json", "summary.json", "probes.json")
LINES = ("events.jsonl", "telemetry.jsonl")


def reseal(record: Path) -> None:
    """Checksums that agree with what stands there now: the edit of somebody who knows how."""
    for path in record.iterdir():
        path.chmod(0o644)
    (record / "SHA256SUMS").write_text(sums_text(record))


def put(record: Path, name: str, old: str, new: str) -> None:
    path = record / name
    path.chmod(0o644)
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new, 1))
    reseal(record)


ERROR = f'"top1_error":{4 / 9}'
WRONG = [
    ("summary.json", ERROR, '"top1_error":NaN'),
    ("summary.json", ERROR, '"top1_error":1e999'),
    ("summary.json", ERROR, '"top1_error":-0.1'),
    ("summary.json", ERROR, '"top1_error":1.01'),
    ("summary.json", '"loss":0.6', '"loss":Infinity'),
    ("summary.json", f'"images":{IMAGES}', '"images":0'),
    ("summary.json", f'"images":{IMAGES}', '"images":8'),
    ("summary.json", '"steps":2', '"steps":-5'),
    ("summary.json", '"steps":2', f'"steps":{10**400}'),
    ("summary.json", '"train_s":0.2', '"train_s":-1.0'),
    ("summary.json", '"status":"ok"', '"status":"failed"'),
    ("summary.json", '"centre"', '"../../centre"'),
    ("summary.json", '"started_utc":"2026', '"started_utc":"yesterday, 2026'),
    ("env.json", '"cores_usable": 2', '"cores_usable": "two"'),
    ("env.json", '"cores_usable": 2', '"cores_usable": -2'),
    ("env.json", '"memory_mib": 24576', '"memory_mib": NaN'),
    ("env.json", '"schema_version": 2', '"schema_version": "2"'),
    ("env.json", '"schema_version": 2', '"schema_version": true'),
    ("spec.json", '"groups":1', '"groups":0'),
    ("spec.json", '"seed":0', '"seed":1e400'),
    ("events.jsonl", '"top1_error":0.5', '"top1_error":NaN'),
    ("events.jsonl", '"losses":[0.7,0.6]', '"losses":[0.7,-1e999]'),
    ("events.jsonl", '"losses":[0.7,0.6]', '"losses":[]'),
    ("events.jsonl", '"last_step":2', '"last_step":-2'),
    ("telemetry.jsonl", '"cpu_s":1.5', '"cpu_s":NaN'),
    ("probes.json", "1.0", "1e999"),
]


@pytest.mark.parametrize(
    ("name", "old", "new"), WRONG, ids=[f"{name} {new[:30]}" for name, _, new in WRONG]
)
def test_a_number_that_no_run_can_have_is_a_problem(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    record = write_run(tmp_path)
    assert verify(record) == []
    put(record, name, old, new)
    problems = verify(record)
    assert problems
    assert not any("\n" in problem for problem in problems)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b"(2, 3)", b"(9, 9)")),
        lambda path: path.write_bytes(
            path.read_bytes().replace(b"(2, 3), }        ", b"(-2, -3), }      ")
        ),
        lambda path: path.write_bytes(
            path.read_bytes().replace(b"(2, 3), }               ", b"(1125899906842624,), }  ")
        ),
        lambda path: path.write_bytes(path.read_bytes().replace(b"'<f4'", b"'|O8'")),
        lambda path: path.write_bytes(b"\x93NUMPY\x03\x00"),
        lambda path: path.write_bytes(path.read_bytes()[:50]),
    ],
    ids=["other shape", "negative shape", "1 PiB", "objects", "version", "cut"],
)
def test_an_array_that_is_not_what_its_header_says_is_a_problem(
    tmp_path: Path, spoil: Callable[[Path], int]
) -> None:
    record = write_run(tmp_path)
    whole = (record / "conv1.npy").read_bytes()
    (record / "conv1.npy").chmod(0o644)
    spoil(record / "conv1.npy")
    assert (record / "conv1.npy").read_bytes() != whole
    reseal(record)
    (problem,) = verify(record)
    assert "is not a plain numpy array" in problem
    assert Store(tmp_path).verified().records == []


def test_all_problems_of_a_record_are_listed(tmp_path: Path) -> None:
    record = write_run(tmp_path)
    put(record, "events.jsonl", '"last_step":2', '"last_step":-2')
    put(record, "telemetry.jsonl", '"cpu_s":1.5', '"cpu_s":NaN')
    put(record, "probes.json", "1.0", "1e999")
    assert len(verify(record)) == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with something in every file."""
    with Store(tmp_path_factory.mktemp("whole")).open(SPEC, ENV) as writer:
        writer.event(STEPS)
        writer.sample(Sample(t_s=0.5, probe="host", device="host", values={"cpu_s": 1.5}, missing={}))
        writer.write_correct("centre", RIGHT, np.ones(IMAGES, dtype=np.bool_))
        writer.array("conv1", np.zeros((2, 3, 3, 3), dtype=np.float16))
        writer.probes({"requested_hz": 1.0})
        return writer.seal(replace(summary_of(writer)))


def places(plain: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inside = (
        plain.items()
        if isinstance(plain, dict)
        else enumerate(plain)
        if isinstance(plain, list)
        else ()
    )
    return [path, *(place for key, held in inside for place in places(held, (*path, key)))]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.sampled_from([0, -1, 1, 2**31, 2**63, 1e308, 5e-324])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "../../x", "cuda", "auto", "ok", "\ud800", "nan"])
)
VALUES = st.recursive(
    SCALARS,
    lambda held: st.lists(held, max_size=3) | st.dictionaries(st.text(max_size=5), held, max_size=3),
)


def changed(data: st.DataObject, plain: Any) -> Any:
    """`plain` with the value at one place replaced, removed or added to."""
    place = data.draw(st.sampled_from(places(plain)))
    if not place:
        return data.draw(VALUES)
    parent = plain
    for key in place[:-1]:
        parent = parent[key]
    how = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "replace":
        parent[place[-1]] = data.draw(VALUES)
    elif how == "remove":
        del parent[place[-1]]
    elif isinstance(parent, dict):
        parent[data.draw(st.text(max_size=5))] = data.draw(VALUES)
    else:
        parent.append(data.draw(VALUES))
    return plain


def spoil(data: st.DataObject, record: Path) -> None:
    """Change one file: a JSON value in it, or bytes."""
    path = record / data.draw(st.sampled_from(sorted(file.name for file in record.iterdir())))
    path.chmod(0o644)
    content = path.read_bytes()
    if path.name in (*JSON, *LINES) and data.draw(st.booleans()):
        first = content.splitlines()[0] if path.name in LINES else content
        path.write_text(json.dumps(changed(data, json.loads(first))) + "\n")
    elif data.draw(st.booleans()):
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    else:
        at = data.draw(st.integers(0, len(content)))
        path.write_bytes(
            content[:at]
            + data.draw(st.binary(max_size=8))
            + content[at + data.draw(st.integers(0, 8)) :]
        )


@pytest.mark.fuzz
@given(data=st.data(), sealed_again=st.booleans())
def test_whatever_stands_in_a_record_is_read_or_refused_in_a_sentence(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sealed_again: bool
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    try:
        record = root / whole.name
        shutil.copytree(whole, record)
        spoil(data, record)
        if sealed_again:
            reseal(record)
        problems = verify(record)
        assert all(isinstance(problem, str) for problem in problems)
        finished(Store(root), ENV.machine_id)
        with suppress(RecordError):
            read_all(load_verified(record))
        swept(root, record)
    finally:
        shutil.rmtree(root)


def read_all(record: RunRecord) -> None:
    """What reports and notebooks read of a record that counts."""
    runs_table([record]).to_csv()
    curves_table([record])
    telemetry_table([record])  # the only one that may raise RecordError here: no report reads samples


def swept(root: Path, record: Path) -> None:
    """The same files as a killed run's: the next run begins, and nothing is lost."""
    folder = root / ".open" / record.name
    folder.parent.mkdir(exist_ok=True)
    record.rename(folder)
    with Store(root).open(replace(SPEC, seed=7), ENV) as writer:
        assert len(writer.swept) == 1
    kept = [root / record.name, folder, folder.parent / "unreadable" / record.name]
    assert sum(path.exists() for path in kept) == 1
