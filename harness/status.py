"""Finds the unfinished runs of a results folder: running ones, and stopped ones that can resume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.checkpoint import FOLDER, checkpoint_files, metadata
from harness.errors import RecordError
from harness.events import Evaluated, StepsDone, TrainingStarted
from harness.records.lines import read_lines
from harness.records.record import Stamped
from harness.records.store import Store
from harness.serialization import from_json


@dataclass(frozen=True)
class Unfinished:
    """An unfinished run, or a sealed one whose checkpoint is left.

    step: of its last event, or of its checkpoint if it is stopped. steps: None if unknown.
    left_s: the remaining time at the speed so far; None if it can't be estimated.
    """

    name: str
    state: Literal["running", "stopped", "sealed"]
    step: int
    steps: int | None
    checkpoint: int | None
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
    step, steps = _step(past), _steps(past)
    files = checkpoint_files(root / FOLDER / digest)
    return Unfinished(
        name=folder.name,
        state="running",
        step=step,
        steps=steps,
        checkpoint=int(files[-1].stem) if files else None,
        left_s=_left_s(past, step, steps),
        last_event=_words(past),
    )


def _stopped(store: Store, folder: Path) -> Unfinished | None:
    for path in reversed(checkpoint_files(folder)):
        try:
            plain, past = metadata(path)
        except RecordError:
            continue
        return Unfinished(
            name=str(plain["run_id"]),
            state="sealed" if store.finished_since(folder.name, str(plain["run_id"])) else "stopped",
            step=int(plain["step"]),
            steps=_steps(past),
            checkpoint=int(plain["step"]),
            left_s=_left_s(past, int(plain["step"]), _steps(past)),
            last_event=_words(past),
        )
    return None


def _step(past: list[Stamped]) -> int:
    return max(
        (stamped.event.last_step for stamped in past if isinstance(stamped.event, StepsDone)), default=0
    )


def _steps(past: list[Stamped]) -> int | None:
    return next(
        (stamped.event.steps for stamped in past if isinstance(stamped.event, TrainingStarted)), None
    )


def _left_s(past: list[Stamped], step: int, steps: int | None) -> float | None:
    spent_s = sum(
        stamped.event.elapsed_s for stamped in past if isinstance(stamped.event, StepsDone | Evaluated)
    )
    return None if not step or steps is None else spent_s / step * (steps - step)


def _words(past: list[Stamped]) -> str:
    """The last loss and the last validation, as text."""
    losses = [stamped.event for stamped in past if isinstance(stamped.event, StepsDone)]
    errors = [stamped.event for stamped in past if isinstance(stamped.event, Evaluated)]
    said = [f"loss {sum(losses[-1].losses) / len(losses[-1].losses):.3f}"] if losses else ["starting"]
    said += [f"top-1 error {errors[-1].top1_error:.1%} ({errors[-1].protocol})"] if errors else []
    return ", ".join(said)
