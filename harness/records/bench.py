"""Sealed records of measured speeds, which `python -m harness bench ... --save` writes and the report reads.

A record is a folder results/bench/<bench_id>/ with spec.json, env.json, bench.json and SHA256SUMS. It is
sealed by one rename, like the record of a run, and never edited.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from harness.bounds import Amount, Count, Fraction, Size
from harness.errors import RecordError
from harness.machine.environment import Environment
from harness.records.files import SUMS, read_whole, write_file, writing
from harness.records.private import hide_paths
from harness.records.record import (
    TEXT_LIMIT,
    NewerSchemaError,
    read_document,
    read_environment,
    read_spec,
)
from harness.records.schema import Refused
from harness.records.verify import changed_files
from harness.records.writer import document, seal_folder, stamp
from harness.serialization import from_json, to_json, to_plain
from harness.spec import RunSpec
from variants.values import value

BENCH = "bench"  # the folder of these records under the results
RESULT = "bench.json"
SCHEMA = 1  # of bench.json
FILES = ("spec.json", "env.json", RESULT)
BENCH_ID = re.compile(r"\d{8}T\d{6}Z-(step|loader|pipeline|roofline)-[A-Za-z0-9_-]+-[0-9a-f]{8}(-\d+)?")
Kind = Literal["step", "loader", "pipeline", "roofline"]


@value
class Timing:
    """Images per second over `windows` windows: the median and an interval of it, from order statistics.

    coverage: how often such an interval holds the true median, 0.95 or more from 6 windows on. lowest,
    highest: of all windows. images_per_cpu_second: the median over windows; the CPU seconds are those of
    this process and of the processes that it starts.
    """

    windows: Size
    images_per_second: Amount
    low: Amount
    high: Amount
    coverage: Fraction
    lowest: Amount
    highest: Amount
    images_per_cpu_second: Amount


@value
class Ratio:
    """How many times as fast as another way: the median over pairs of windows that followed each other.

    per_second: of images per second, with the interval of the median, low to high, and its coverage.
    per_cpu_second: of images per CPU second.
    """

    per_second: Amount
    low: Amount
    high: Amount
    coverage: Fraction
    per_cpu_second: Amount


@value
class LayerTime:
    """One layer's forward and backward pass over a batch, and the least time that they could take.

    macs: multiply-accumulates of both passes; bytes: the least that they read and write. bound: which of
    the two takes longer at this machine's measured rates, and so sets least_ms. set_bytes: input and
    output, which decide at what size the copy was measured that least_ms counts with.
    """

    name: str
    kind: str
    macs: Count
    bytes: Count
    set_bytes: Count
    ms: Amount
    least_ms: Amount
    bound: Literal["arithmetic", "memory"]

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        return 2 * self.macs / self.bytes

    @property
    def gflops(self) -> float:
        return 2 * self.macs / self.ms / 1e6

    @property
    def reached(self) -> float:
        """The least time as a fraction of the measured one."""
        return self.least_ms / self.ms


@value
class BenchResult:
    """bench.json: what one `bench` command measured.

    timings: by name; the first one is the command's own. ratios: to the others, by name. values: numbers
    by name, with their units in it; `missing` has the reason of each null and of each way that could not
    be measured. notes: what is behind a name, in words. steady: whether the warm-up ended because the
    speeds no longer changed; warm_up_windows: its length.
    """

    schema_version: int = SCHEMA
    kind: Kind
    bench_id: str
    measured_utc: str
    warm_up_windows: Count
    steady: bool
    timings: dict[str, Timing]
    ratios: dict[str, Ratio]
    bound_by: str | None
    values: dict[str, float | int | None]
    layers: tuple[LayerTime, ...]
    notes: dict[str, str]
    missing: dict[str, str]

    @property
    def main(self) -> Timing:
        """The timing of what the command is about."""
        return next(iter(self.timings.values()))


@dataclass(frozen=True)
class BenchRecord:
    """A sealed record of speeds. checksum: sha256 of its SHA256SUMS."""

    path: Path
    spec: RunSpec
    env: Environment
    result: BenchResult

    @property
    def checksum(self) -> str:
        return hashlib.sha256(read_whole(self.path / SUMS, TEXT_LIMIT)).hexdigest()


def bench_id_of(kind: Kind, spec: RunSpec, when: datetime) -> str:
    """A name that sorts by time and says what was measured."""
    parts = (kind, spec.variant, spec.geometry, spec.data.name)
    plain = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part) for part in parts)
    return f"{when:%Y%m%dT%H%M%SZ}-{plain}-{spec.digest[:8]}"


def seal_bench(
    results: Path, spec: RunSpec, env: Environment, result: BenchResult, when: datetime
) -> Path:
    """Write results/bench/<bench_id>/, whole or not at all; returns it. Raises RecordError."""
    home = results / BENCH
    name = base = bench_id_of(result.kind, spec, when)
    number = 1
    while (home / name).exists() or (home / ".open" / name).exists():
        number += 1
        name = f"{base}-{number}"
    folder = home / ".open" / name
    with writing(folder):
        folder.mkdir(parents=True)
    plain: dict[str, Any] = to_plain(replace(result, bench_id=name, measured_utc=stamp(when)))
    plain |= {part: hide_paths(plain[part], results) for part in ("notes", "missing")}
    write_file(folder / "spec.json", to_json(spec).encode() + b"\n")
    env = replace(env, missing=hide_paths(env.missing, results))
    write_file(folder / "env.json", document(to_plain(env)))
    # in the order of the result: the first timing is the command's own
    write_file(folder / RESULT, document(plain, sort_keys=False))
    return seal_folder(folder, None)


def load_bench(path: Path) -> BenchRecord:
    """A record as it was sealed. Raises RecordError where it was changed or can't be read."""
    if problems := changed_files(path, FILES):
        raise RecordError("; ".join(problems))
    held = read_document(path / RESULT)
    if held.get("schema_version") != SCHEMA:
        raise NewerSchemaError(
            f"its schema_version is {held.get('schema_version')}; this harness reads {SCHEMA}; use a newer one"
        )
    try:
        result = from_json(json.dumps(held), BenchResult)
    except RecordError as error:
        raise RecordError(f"{path / RESULT}: {error}") from error
    if result.bench_id != path.name:
        raise RecordError(f"its folder is named {path.name}, but {RESULT} says {result.bench_id}")
    if not result.timings:
        raise RecordError(f"{path / RESULT} holds no timing")
    env = read_environment(path)
    return BenchRecord(path, read_spec(path, env.schema_version), env, result)


def verify_bench(path: Path) -> list[str]:
    """The problems of one sealed record of speeds; none means it is whole and unchanged."""
    try:
        load_bench(path.resolve())
    except (RecordError, OSError) as error:
        return [str(error)]
    return []


def newest(records: Iterable[BenchRecord]) -> list[BenchRecord]:
    """The last record of each kind, variant, recipe, data set, device and machine, in the order of these."""
    last = {}
    for record in sorted(records, key=lambda record: record.path.name):
        spec, kind = record.spec, record.result.kind
        settings = (spec.recipe.name, spec.overrides, spec.data.name, spec.device)
        last[spec.variant, *settings, record.env.machine_id, kind] = record
    return [last[key] for key in sorted(last, key=str)]


def bench_folders(results: Path) -> list[Path]:
    """The folders of the sealed records of speeds, oldest first."""
    home = results / BENCH
    if not home.is_dir():
        return []
    return sorted(path for path in home.iterdir() if path.is_dir() and BENCH_ID.fullmatch(path.name))


def load_benches(results: Path) -> tuple[list[BenchRecord], tuple[Refused, ...]]:
    """The records of speeds that are as they were sealed, oldest first, and why others are left out."""
    records, refused = [], []
    for path in bench_folders(results):
        try:
            records.append(load_bench(path))
        except (RecordError, OSError) as error:
            reason = str(error).replace(f"{path}/", "").replace(str(path), path.name)
            refused.append(Refused(run_id=path.name, reason=reason))
    return records, tuple(refused)
