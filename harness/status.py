"""Finds the unfinished runs of a results folder: running ones, and stopped ones that can resume."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.checkpoint import FOLDER, checkpoint_files, metadata
from harness.errors import RecordError
from harness.events import Evaluated, StepsDone
from harness.pace import pace_of
from harness.records.lines import read_lines
from harness.records.record import Stamped
from harness.records.store import Store
from harness.serialization import from_json


@dataclass(frozen=True)
class Unfinished:
    """An unfinished run, or a sealed one whose checkpoint is left.

    step: of its last event, or of its checkpoint if it is stopped. steps: None if unknown.
    spent_s, left_s: time in training so far, and the remaining time (harness/pace.py); None if it
    can't be estimated.
    """

    digest: str
    name: str
    state: Literal["running", "stopped", "sealed"]
    step: int
    steps: int | None
    checkpoint: int | None
    spent_s: float
    left_s: float | None
    last_event: str


def unfinished(root: Path) -> list[Unfinished]:
    """Running runs first, then stopped ones, and sealed ones whose checkpoint is left.

    This only reads, and may be called at any time.
    """
    store = Store(root)
    living = store.living() if (root / ".open").is_dir() else {}
    running = [_running(root, digest, folder) for digest, folder in living.items()]
    stopped = [
        _stopped(store, folder)
        for folder in sorted((root / FOLDER).glob("*"))
        if folder.is_dir() and folder.name not in living
    ]
    return [*running, *(one for one in stopped if one is not None)]


def _running(root: Path, digest: str, folder: Path) -> Unfinished:
    try:
        lines = read_lines(folder / "events.jsonl", torn_end_allowed=True)
        past = [from_json(line, Stamped) for line in lines]
    except RecordError:  # sealed in the meantime, or of another version
        past = []
    saved = _newest(root / FOLDER / digest)
    if not past and saved is not None:  # it starts, and will resume from there
        past = saved[1]
    pace = pace_of(stamped.event for stamped in past)
    return Unfinished(
        digest=digest,
        name=folder.name,
        state="running",
        step=pace.step,
        steps=pace.steps,
        checkpoint=None if saved is None else int(saved[0]["step"]),
        spent_s=pace.spent_s,
        left_s=pace.left_s,
        last_event=_words(past),
    )


def _stopped(store: Store, folder: Path) -> Unfinished | None:
    saved = _newest(folder)
    if saved is None:
        return None
    (plain, past), name = saved, str(saved[0]["run_id"])
    pace = pace_of(stamped.event for stamped in past)
    return Unfinished(
        digest=folder.name,
        name=name,
        state="sealed" if store.finished_since(folder.name, name) else "stopped",
        step=int(plain["step"]),
        steps=pace.steps,
        checkpoint=int(plain["step"]),
        spent_s=pace.spent_s,
        left_s=pace.left_s,
        last_event=_words(past),
    )


def _newest(folder: Path) -> tuple[dict[str, Any], list[Stamped]] | None:
    """The metadata and events of the newest checkpoint in a run's folder that can be read."""
    for path in reversed(checkpoint_files(folder)):
        with suppress(RecordError):
            return metadata(path)
    return None


def _words(past: list[Stamped]) -> str:
    """The last loss and the last validation, as text."""
    losses = [stamped.event for stamped in past if isinstance(stamped.event, StepsDone)]
    errors = [stamped.event for stamped in past if isinstance(stamped.event, Evaluated)]
    said = [f"loss {sum(losses[-1].losses) / len(losses[-1].losses):.3f}"] if losses else ["starting"]
    said += [f"top-1 error {errors[-1].top1_error:.1%} ({errors[-1].protocol})"] if errors else []
    return ", ".join(said)
