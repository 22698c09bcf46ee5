"""Writing one run's record: lines as they come, then one rename.

However the run ends, what is sealed is whole.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import RecordError
from harness.events import Evaluated, Event, StepsDone
from harness.files import remove_temporary_files
from harness.machine.environment import SCHEMA_VERSION, Environment
from harness.probes.base import Sample
from harness.records import schema_1
from harness.records.files import (
    SUMS,
    drop_torn_line,
    make_read_only,
    reserve,
    sums_text,
    sync,
    write_file,
    writing,
)
from harness.records.lines import LineWriter, read_lines
from harness.records.private import hide_paths, private
from harness.records.record import ANALYSIS, PLAIN_NAME, UTC_FORMAT, Stamped, bits_name, sealed_digest
from harness.records.recovery import recovered_fields
from harness.records.schema import Analysis, ProtocolResult, Status, Summary
from harness.serialization import from_json, to_json, to_plain
from harness.spec import RunSpec

# bytes kept free for the end of a run: bits, kernels, probes.json, summary.json, SHA256SUMS
RESERVED = 1 << 20
# null in every record whose run gave no result: all that may be null but the reason of its status
UNFINISHED = {
    field.name
    for field in fields(Summary)
    if "None" in str(field.type) and field.name != "status_reason"
}


class Writer:
    """The open record of one run; store.Store.open makes and ends it.

    elapsed: seconds since the run's clock started: the clock of events and samples.
    swept: one sentence for each stale folder that was found when this run began.
    """

    def __init__(
        self,
        folder: Path,
        spec: RunSpec,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        swept: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.run_id = folder.name
        self.spec = spec
        self.swept = swept
        self.sealed: Path | None = None
        self.past: list[Stamped] = []  # the events so far
        self._clock, self._now = clock, now
        self._zero, self._started = clock(), now()
        self._events = LineWriter(folder / "events.jsonl", clock)
        self._samples = LineWriter(folder / "telemetry.jsonl", clock)
        self._known: dict[str, Any] = {"steps": 0, "images_seen": 0}
        self._summary: Summary | None = None
        self._reserved = folder / ".reserved.tmp"
        self._schema_version = SCHEMA_VERSION

    def begin(self, env: Environment) -> None:
        """Write what is known before the first step, and keep room on the disk for the end."""
        bits = self.spec.data.val_images // 4 + 2  # two files a protocol
        reserve(self._reserved, RESERVED + bits * len(self.spec.recipe.evaluation.protocols))
        write_file(self.folder / "spec.json", to_json(self.spec).encode() + b"\n")
        env = replace(env, missing=self._private(env.missing))
        write_file(self.folder / "env.json", document(to_plain(env)))

    def elapsed(self) -> float:
        return self._clock() - self._zero

    def event(self, event: Event) -> None:
        self._write(Stamped(t_s=round(self.elapsed(), 3), event=event))
        if isinstance(event, Evaluated) and event.final:  # from here on a result can be recovered
            self._free_reserve()
            self._events.flush()

    def _free_reserve(self) -> None:
        with writing(self._reserved):
            self._reserved.unlink(missing_ok=True)

    def continue_from(self, past: Sequence[Stamped]) -> None:
        """Begin with the events of a run that stopped; this run's clock goes on where theirs ended."""
        for stamped in past:
            self._write(stamped)
        self._zero -= past[-1].t_s if past else 0.0

    def _write(self, stamped: Stamped) -> None:
        self._count(stamped.event)
        self.past.append(stamped)
        self._events.write(to_json(stamped))

    def sample(self, sample: Sample) -> None:
        self._samples.write(to_json(replace(sample, missing=self._private(sample.missing))))

    def telemetry(self) -> Iterator[Sample]:
        """The samples so far, for the summary."""
        self._samples.flush()
        for line in read_lines(self._samples.path, torn_end_allowed=True):
            yield from_json(line, Sample)

    def probes(self, report: dict[str, Any]) -> None:
        """What the sampler reports at the end (probes.json)."""
        write_file(self.folder / "probes.json", document(self._private(report)))

    def _private(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The same with `<path>` for paths of this machine."""
        hidden: dict[str, Any] = hide_paths(plain, self.folder.parent.parent)
        return hidden

    def write_correct(self, protocol: str, top1: NDArray[np.bool_], top5: NDArray[np.bool_]) -> None:
        """Whether each image was right: (images,) bool in the order of the split, stored as one bit
        each.

        Write them before the final Evaluated event: a result is recovered only with its bits.
        """
        self._free_reserve()
        for k, right in ((1, top1), (5, top5)):
            if right.dtype != np.bool_ or right.ndim != 1:
                raise TypeError(
                    f"write_correct: top{k} must be (images,) bool, not {right.shape} {right.dtype}"
                )
            write_file(self.folder / bits_name(_plain(protocol), k), np.packbits(right).tobytes())

    def analysis(self, found: Analysis) -> None:
        """The answers by class and by confidence (analysis.json)."""
        self._free_reserve()
        write_file(self.folder / ANALYSIS, (to_json(found) + "\n").encode())

    def array(self, name: str, values: NDArray[Any]) -> None:
        self._free_reserve()
        held = io.BytesIO()
        np.save(held, values, allow_pickle=False)
        write_file(self.folder / f"{_plain(name)}.npy", held.getvalue())

    def add_summary_fields(self, **known: Any) -> None:
        """Fields of Summary that are known already, however the run ends (loader, warmup_steps ...)."""
        self._known.update(known)

    def recover(self, schema_version: int) -> None:
        """Take up a killed process's folder: how far did it get? Raises RecordError at a line that
        can't be read.
        """
        self._schema_version = schema_version
        lines = read_lines(self._events.path, torn_end_allowed=True)
        renamed = schema_1.stamped if self._schema_version == 1 else None
        self.past = [from_json(line, Stamped, renamed) for line in lines]
        for stamped in self.past:
            self._count(stamped.event)
        self._started = datetime.strptime(self.run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    def recovered(self, env: Environment, results: dict[str, ProtocolResult]) -> Summary:
        """The summary of a killed run that had these results (recovery.final_results); call it after
        `recover`.
        """
        try:
            known = recovered_fields(env, self.past, self.telemetry())
        except RecordError:  # samples that can't be read are no reason to lose the result
            known = recovered_fields(env, self.past, ())
        return self.finished(results, **known)

    def finished(self, results: dict[str, ProtocolResult], **known: Any) -> Summary:
        """The summary of a run that had these results, with the fields of
        summary_fields.summary_fields.
        """
        return self._summary_with("ok", None, "no reason was given", results=results, **known)

    def _count(self, event: Event) -> None:
        if isinstance(event, StepsDone):
            self._known["steps"] = event.last_step
            self._known["images_seen"] += event.images

    def utc(self) -> str:
        """The time now, no earlier than the start: the clock may have been set back."""
        return stamp(max(self._now(), self._started))

    @property
    def started_utc(self) -> str:
        return stamp(self._started)

    def seal(self, summary: Summary) -> Path:
        """Closes the record; afterwards only reading is possible. Returns its folder.

        Paths in the summary's sentences become `<path>`.
        """
        summary = private(summary, self.folder.parent.parent)
        self._summary = summary
        self._free_reserve()
        self._events.flush()
        self._samples.flush()
        self.sealed = seal_folder(self.folder, summary)
        return self.sealed

    def fail(self, status: Status, reason: str, **known: Any) -> Path:
        """Seals a run that gave no result, with what is known of it."""
        return self.seal(self._summary_with(status, reason, reason, **known))

    def end(self, error: BaseException | None) -> None:
        """The `with` block is left: seal what is not sealed.

        If the disk refuses, the next run sweeps.
        """
        if self.sealed is not None or not self.folder.exists():
            return
        try:
            if self._summary is not None:  # interrupted while sealing: the run itself was done
                self.seal(self._summary)
            elif isinstance(error, KeyboardInterrupt):
                self.fail(
                    "interrupted",
                    f"stopped by {str(error) or 'Ctrl-C'} after {self._known['steps']} steps",
                )
            else:
                self.fail(
                    "failed", "the run ended without a result" if error is None else sentence(error)
                )
        except RecordError:
            if error is None:
                raise

    def _summary_with(
        self, status: Status, status_reason: str | None, reason: str, **more: Any
    ) -> Summary:
        """reason: of each null that has none of its own."""
        known: dict[str, Any] = {
            "loader": "none",
            "loader_reason": "the run ended before a loader was chosen",
            "warmup_steps": 0,
        }
        known |= {"parameters": self.spec.net.parameters, "macs": self.spec.net.macs}
        known |= {**self._known, **more}
        missing = {name: reason for name in sorted(UNFINISHED) if known.get(name) is None}
        missing |= known.pop("missing", {})
        return Summary(
            schema_version=self._schema_version,
            run_id=self.run_id,
            spec_digest=sealed_digest(self.folder),
            status=status,
            status_reason=status_reason,
            started_utc=self.started_utc,
            finished_utc=self.utc(),
            **{**dict.fromkeys(UNFINISHED), "results": {}, **known, "missing": missing},
        )


def seal_folder(folder: Path, summary: Summary | None) -> Path:
    """results/.open/<run_id> -> results/<run_id>. With None, the folder's own summary.json stands.

    The order is what makes it safe: data synced, then the summary, then the checksums, then the rename.
    Whoever finds a folder with a whole summary may finish the work; any other was not finished.
    """
    target = folder.parent.parent / folder.name
    with writing(folder):
        remove_temporary_files(folder)
        for path in folder.iterdir():
            if path.suffix == ".jsonl":
                drop_torn_line(path)
            sync(path)
        if summary is not None:
            write_file(folder / "summary.json", to_json(summary).encode() + b"\n")
        write_file(folder / SUMS, sums_text(folder).encode())
        sync(folder)
        if target.exists():
            raise RecordError(f"{target} exists already and is never overwritten; move it away")
        # the one call that must be rename(2), atomic within a file system
        os.rename(folder, target)  # noqa: PTH104
        sync(target.parent)
        # last: what is still open must stay writable to whoever takes it up
        make_read_only(target.iterdir())
    return target


def document(plain: dict[str, Any], *, sort_keys: bool = True) -> bytes:
    """A JSON object as one reads it: a field a line."""
    return json.dumps(plain, sort_keys=sort_keys, indent=1, allow_nan=False).encode() + b"\n"


def sentence(error: BaseException) -> str:
    """The exception's name and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def stamp(when: datetime) -> str:
    """ISO 8601 to the second; `when` is in UTC."""
    return when.strftime(UTC_FORMAT)


def _plain(name: str) -> str:
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"'{name}' can't be part of a file name; use letters, digits and _")
    return name
