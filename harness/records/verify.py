"""Is a record what was sealed? Checksums, files, schema and identity, each problem as one sentence."""

from __future__ import annotations

from pathlib import Path

from harness.errors import RecordError
from harness.records.files import SUMS, parse_sums, read_whole, sha256_of
from harness.records.record import TEXT_LIMIT, RunRecord, bits_name, sealed_digest

ALWAYS = ("spec.json", "env.json", "summary.json")


def verify(path: Path) -> list[str]:
    """The problems of one sealed record; none means it is whole and unchanged since it was sealed."""
    path = path.resolve()  # its name counts, and "." has none
    if not path.is_dir():
        return [f"{path} is not a folder"]
    try:
        sums = parse_sums(read_whole(path / SUMS, TEXT_LIMIT).decode("utf-8", "replace"))
    except RecordError as error:
        return [str(error)]
    return [*_files(path, sums), *_meaning(path)]


def _files(path: Path, sums: dict[str, str]) -> list[str]:
    problems = []
    there = {item.name: item for item in path.iterdir() if item.name != SUMS}
    for name in sorted(sums.keys() | there.keys() | set(ALWAYS)):
        if name not in there:
            problems.append(f"{name} is missing")
        elif there[name].is_symlink() or not there[name].is_file():
            problems.append(f"{name} is not a plain file")
        elif name not in sums:
            problems.append(f"{name} was not there when the record was sealed")
        elif sha256_of(there[name]) != sums[name]:
            problems.append(f"{name} has changed since it was sealed (its checksum differs)")
    return problems


def _meaning(path: Path) -> list[str]:
    try:
        record = RunRecord.load(path)
        record.timeline(), record.telemetry(), record.probes()
        for protocol in record.summary.results:
            for k in (1, 5):
                if (path / bits_name(protocol, k)).exists():
                    record.correct(protocol, k)
    except RecordError as error:
        return [str(error)]
    return _identity(record)


def _identity(record: RunRecord) -> list[str]:
    summary, problems = record.summary, []
    if summary.schema_version != record.env.schema_version:
        problems.append(
            f"summary.json has schema_version {summary.schema_version}, but env.json {record.env.schema_version}"
        )
    if summary.run_id != record.path.name:
        problems.append(f"its folder is named {record.path.name}, but summary.json says run_id {summary.run_id}")
    if summary.spec_digest != sealed_digest(record.path):
        problems.append("the digest in summary.json is not that of spec.json")
    return problems
