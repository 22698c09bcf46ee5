"""A sealed record, read strictly and with limits: records travel, so nothing in one is trusted
before it is checked.
"""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator

from harness.errors import RecordError
from harness.events import Event
from harness.machine.environment import SCHEMA_VERSION, Environment
from harness.probes.base import Sample
from harness.records import schema_1
from harness.records.files import read_whole
from harness.records.lines import read_lines
from harness.records.schema import Analysis, Summary
from harness.serialization import digest, from_json, strict_json
from harness.spec import RunSpec, identity
from variants.values import value

TEXT_LIMIT = 4 << 20
ARRAY_LIMIT = 64 << 20
ANALYSIS = "analysis.json"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")
NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '[<|][biuf](?P<itemsize>1|2|4|8)', 'fortran_order': "
    rb"(?:True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,12}, ?){0,8}(?:\d{1,12})?)\), \} *\n",
    re.DOTALL,
)
UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9_-]+-(?P<digest>[0-9a-f]{8})(-\d+)?")


class NewerSchemaError(RecordError):
    """The record is of a schema version that a later harness wrote."""


@value
class Stamped:
    """One line of events.jsonl: an event and when it happened, in seconds since the run's clock
    started.
    """

    t_s: float
    event: Annotated[Event, Discriminator("kind")]


def bits_name(protocol: str, k: int) -> str:
    """The file of packed bits of one protocol's top-k answers."""
    return f"correct_{protocol}_top{k}.bits"


@dataclass(frozen=True)
class RunRecord:
    """One record: its folder, and what was read at once. The rest is read when asked for."""

    path: Path
    spec: RunSpec
    env: Environment
    summary: Summary

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Raises RecordError naming the file and field that is missing or wrong."""
        try:
            env = read_environment(path)
            spec = read_spec(path, env.schema_version)
            return cls(path, spec, env, read_summary(path, spec))
        except RecordError as error:
            where = "" if str(path) in str(error) else f"{path}: "
            raise RecordError(f"{where}{error}; see: python -m harness verify {path}") from error

    @property
    def run_id(self) -> str:
        return self.summary.run_id

    @property
    def is_sealed(self) -> bool:
        return self.path.parent.name != ".open"

    def timeline(self) -> list[Stamped]:
        """The events with their times, in order."""
        lines = read_lines(self.path / "events.jsonl", torn_end_allowed=not self.is_sealed)
        renamed = schema_1.stamped if self.env.schema_version == 1 else None
        return [from_json(line, Stamped, renamed) for line in lines]

    def events(self) -> list[Event]:
        return [stamped.event for stamped in self.timeline()]

    def telemetry(self) -> list[Sample]:
        lines = read_lines(self.path / "telemetry.jsonl", torn_end_allowed=not self.is_sealed)
        return [from_json(line, Sample) for line in lines]

    def probes(self) -> dict[str, Any]:
        """What the sampler reported: rates asked and reached, two ways of energy, what was missing."""
        path = self.path / "probes.json"
        return read_document(path) if path.exists() else {}

    def correct(self, protocol: str, k: int) -> NDArray[np.bool_]:
        """(images,) bool, in the order of the validation split: was the label among the k best? k is
        1 or 5.
        """
        result = self.summary.results.get(protocol)
        if result is None:
            known = (
                ", ".join(sorted(self.summary.results)) or f"none, it ended as {self.summary.status}"
            )
            raise RecordError(
                f"{self.run_id} has no final evaluation under '{protocol}'; it has: {known}"
            )
        name = bits_name(protocol, k)
        packed = np.frombuffer(read_whole(self.path / name, ARRAY_LIMIT), dtype=np.uint8)
        if len(packed) != (result.images + 7) // 8:
            raise RecordError(
                f"{self.path / name} has {len(packed)} bytes, which is not one bit for {result.images} "
                "images"
            )
        return np.unpackbits(packed, count=result.images).astype(np.bool_)

    def analysis(self) -> Analysis | None:
        """The answers by class and by confidence; None in older records and where the evaluation did
        not end.
        """
        path = self.path / ANALYSIS
        if not path.exists():
            return None
        try:
            return from_json(read_whole(path, TEXT_LIMIT), Analysis)
        except RecordError as error:
            raise RecordError(f"{path}: {error}") from error

    def array(self, name: str) -> NDArray[Any]:
        """What was written under `name`; pickled objects are refused."""
        path = self.path / f"{name}.npy"
        content = read_whole(path, ARRAY_LIMIT)
        _refuse_odd_header(path, content)
        try:
            made: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, TypeError) as error:
            raise RecordError(f"{path} is not a plain numpy array: {error}") from error
        return made


def _refuse_odd_header(path: Path, content: bytes) -> None:
    """Raise RecordError unless the header is as numpy.save writes it, and its shape is that of the
    bytes that follow.

    numpy itself would evaluate the header as Python, and allocate whatever it says.
    """
    header = NPY_HEADER.match(content)
    if header is None:
        raise RecordError(
            f"{path} is not a plain numpy array: it has no header that numpy.save writes for numbers"
        )
    shape = tuple(int(side) for side in header["shape"].decode().split(",") if side.strip())
    size = math.prod(shape) * int(header["itemsize"])
    if size != len(content) - header.end() or header.end() != 10 + int.from_bytes(
        header["length"], "little"
    ):
        raise RecordError(
            f"{path} is not a plain numpy array: its shape is {shape}, but "
            f"{len(content) - header.end()} bytes follow"
        )


def read_environment(folder: Path) -> Environment:
    """env.json of a record, open or sealed.

    Raises RecordError where this harness can't read its schema version.
    """
    path = folder / "env.json"
    content = read_document(path)
    version = content.get("schema_version", 1)
    if type(version) is not int or version < 1:
        raise RecordError(f"{path}: its schema_version is {version!r}, which is no version")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"its schema_version is {version}; this harness reads 1 to {SCHEMA_VERSION}; use a newer "
            "one"
        )
    try:
        return from_json(json.dumps(content), Environment, schema_1.env if version == 1 else None)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error


def read_spec(folder: Path, version: int) -> RunSpec:
    """spec.json of a record, open or sealed. version: of its schema (Environment.schema_version)."""
    renamed = schema_1.spec if version == 1 else None
    path = folder / "spec.json"
    try:
        spec = from_json(read_whole(path, TEXT_LIMIT), RunSpec, renamed)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error
    try:
        _ = spec.net.parameters, spec.net.macs, spec.digest
    except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: no network can be built from net: {error}") from error
    return spec


def sealed_digest(folder: Path) -> str:
    """The digest of spec.json as it stands: fields that were added to RunSpec since it was sealed don't
    change it.

    Call it for a spec.json that read_spec accepts.
    """
    return digest(identity(read_document(folder / "spec.json")))


def read_summary(folder: Path, spec: RunSpec) -> Summary:
    """summary.json of a record; an open one has it only while it is being sealed. spec: the record's
    own.
    """
    path = folder / "summary.json"
    try:
        summary = from_json(read_whole(path, TEXT_LIMIT), Summary, _with_memory)
        _refuse_contradictions(summary, spec)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from error
    return summary


def _with_memory(plain: dict[str, Any]) -> dict[str, Any]:
    """summary.json with the reason why an older one lacks peak_memory_mib."""
    if "peak_memory_mib" in plain:
        return plain
    reason = "older records have peak_rss_mib only"
    return {**plain, "missing": {**plain["missing"], "peak_memory_mib": reason}}


def _refuse_contradictions(summary: Summary, spec: RunSpec) -> None:
    if (summary.status == "ok") != bool(summary.results):
        raise RecordError(f"status is {summary.status}, but there are {len(summary.results)} results")
    for protocol, result in summary.results.items():
        if not PLAIN_NAME.fullmatch(protocol):
            raise RecordError(f"results: {protocol[:80]!r} is no name of a protocol")
        if result.images != spec.data.val_images:
            raise RecordError(
                f"results.{protocol}.images is {result.images}, but spec.json has "
                f"{spec.data.val_images} of validation"
            )
    for name in ("started_utc", "finished_utc"):
        try:
            datetime.strptime(getattr(summary, name), UTC_FORMAT)  # only its form counts
        except ValueError as error:
            raise RecordError(f"{name} is not a time such as 2026-01-31T12:00:00Z: {error}") from error


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object of any fields, such as probes.json."""
    try:
        made = strict_json(read_whole(path, TEXT_LIMIT))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not JSON: {error}") from error
    if not isinstance(made, dict):
        raise RecordError(f"{path} does not hold a JSON object")
    return made
