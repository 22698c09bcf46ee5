"""How far the studies under a results folder are, and how long their other runs take.

`reproduce` writes what it has planned to results/.studies/<name>.json; `status` reads it, while the
study goes on and after it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from harness.files import write_atomically
from harness.pace import pace_of
from harness.records.files import writing
from harness.records.record import RunRecord
from harness.records.store import Store, run_id_start, utc_now
from harness.spec import RunSpec
from harness.status import Unfinished

FOLDER = ".studies"


@dataclass(frozen=True)
class StudyState:
    """How many of a study's runs are done, failed, running and to do. left_s: of all that are left;
    None while it is unknown.
    """

    name: str
    done: int
    failed: int
    running: int
    todo: int
    left_s: float | None

    @property
    def words(self) -> str:
        """Such as "study figure1: 3 of 26 runs done, 2 running, 21 to do"."""
        runs = self.done + self.failed + self.running + self.todo
        failed = f", {self.failed} failed" if self.failed else ""
        return (
            f"study {self.name}: {self.done} of {runs} runs done{failed}, {self.running} running, "
            f"{self.todo} to do"
        )


def write_plan(
    results: Path, study: str, runs: Sequence[RunSpec], todo: Sequence[RunSpec], at_once: int
) -> None:
    """Write the runs of a study that are known, and which of them are missing.

    Raises RecordError where the disk refuses.
    """
    missing = {spec.digest for spec in todo}
    plain = {
        "since": run_id_start(utc_now()),
        "at_once": at_once,
        "runs": [
            {
                "digest": spec.digest,
                "variant": spec.variant,
                "epochs": spec.recipe.epochs,
                "done": spec.digest not in missing,
            }
            for spec in runs
        ],
    }
    path = results / FOLDER / f"{study}.json"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(plain, indent=1).encode())


def remove_plan(results: Path, study: str) -> None:
    """Remove it; called when the study has ended."""
    (results / FOLDER / f"{study}.json").unlink(missing_ok=True)


def study_states(root: Path, unfinished: Sequence[Unfinished]) -> list[StudyState]:
    """The studies that have not ended. unfinished: the runs under `root` (harness/status.py).

    This only reads.
    """
    paths = sorted((root / FOLDER).glob("*.json"))
    going_on = {run.digest: run for run in unfinished if run.state == "running"}
    return [_state(Store(root), path, going_on) for path in paths]


@dataclass(frozen=True)
class _Run:
    """One run of a plan. record: of this start of the study; None if there is none."""

    variant: str
    epochs: float
    done: bool
    record: RunRecord | None
    running: Unfinished | None


def _state(store: Store, path: Path, going_on: dict[str, Unfinished]) -> StudyState:
    plain = json.loads(path.read_text())
    runs = [
        _Run(
            run["variant"],
            run["epochs"],
            run["done"],
            next(
                reversed(store.sealed_since(run["digest"], "" if run["done"] else plain["since"])), None
            ),
            going_on.get(run["digest"]),
        )
        for run in plain["runs"]
    ]
    done = [run for run in runs if run.done or _status(run) == "ok"]
    running = [run for run in runs if run not in done and run.running is not None]
    failed = [run for run in runs if run not in done + running and _status(run) == "failed"]
    todo = [run for run in runs if run not in done + running + failed]
    left_s = _left_s(done, running, todo, plain["at_once"])
    return StudyState(path.stem, len(done), len(failed), len(running), len(todo), left_s)


def _status(run: _Run) -> str | None:
    return None if run.record is None else run.record.summary.status


def _left_s(
    done: Sequence[_Run], running: Sequence[_Run], todo: Sequence[_Run], at_once: int
) -> float | None:
    """By the mean seconds per planned epoch of the variant's runs that are done or running, or else of
    all variants' runs.
    """
    epoch_s: dict[str, list[float]] = {}
    for run in done:
        if run.record is not None:
            spent_s = pace_of(run.record.events()).spent_s
            epoch_s.setdefault(run.variant, []).append(spent_s / run.epochs)
    left_s = []
    for run in running:
        if run.running is not None and run.running.left_s is not None:
            left_s.append(run.running.left_s)
            whole_s = run.running.spent_s + run.running.left_s
            epoch_s.setdefault(run.variant, []).append(whole_s / run.epochs)
    if not epoch_s:
        return None
    every = fmean(fmean(seconds) for seconds in epoch_s.values())
    unknown = [*todo, *(run for run in running if run.running is None or run.running.left_s is None)]
    of_variant = {variant: fmean(seconds) for variant, seconds in epoch_s.items()}
    total_s = sum(left_s) + sum(run.epochs * of_variant.get(run.variant, every) for run in unknown)
    return max(total_s / at_once, max(left_s, default=0.0))
