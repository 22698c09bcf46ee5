"""Compares runs of the benchmarks in tests/bench, as pytest-benchmark stores them.

Only runs of one bench key are compared. A benchmark has become slower if its median time grew by more
than this machine's own noise floor, which A/A runs give: several runs of the same source.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, log, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import t as student_t

from harness.errors import RecordError
from harness.tables import Column, Table

FALSE_ALARMS = 0.01  # how often an unchanged benchmark is called slower
LEAST_DF = 2  # of the noise: three runs of one source
LEAST_FLOOR = 0.01  # runs can agree by chance; no machine repeats a time to 1 %


@dataclass(frozen=True)
class SuiteRun:
    """A stored run: its bench key, the digest of its source (None: not known), and each benchmark's
    median in seconds by name.
    """

    stored: str  # the name of its file, which sorts by time
    key: str
    source: str | None
    medians: dict[str, float]


@dataclass(frozen=True)
class Change:
    """A benchmark's median time in the last run against that of the one before.

    floor: by which fraction it may grow by chance; None with too few A/A runs.
    """

    name: str
    before_s: float
    after_s: float
    floor: float | None

    @property
    def slower(self) -> float:
        """By which fraction it grew."""
        return self.after_s / self.before_s - 1

    @property
    def is_regression(self) -> bool:
        return self.floor is not None and self.slower > self.floor


def suite_runs(folder: Path) -> list[SuiteRun]:
    """The runs stored under a folder such as .benchmarks, oldest first. Raises RecordError."""
    return sorted(map(_suite_run, folder.glob("*/*.json")), key=lambda run: run.stored)


def _suite_run(path: Path) -> SuiteRun:
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        machine = held["machine_info"]
        return SuiteRun(
            stored=path.name,
            key=json.dumps(machine.get("bench_key"), sort_keys=True),
            source=machine.get("source"),
            medians={each["fullname"]: each["stats"]["median"] for each in held["benchmarks"]},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path} is no run that pytest-benchmark stored: {error!r}; remove it"
        ) from error


def noise_floor(runs: Sequence[SuiteRun], name: str) -> float | None:
    """By which fraction a median time may grow by chance from one run to another; None below LEAST_DF.

    The noise is the standard deviation of the logarithms of the medians among runs of the same source,
    pooled over sources. The difference of two runs has it twice, and Student's t allows for its few
    degrees of freedom.
    """
    logs: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.source is not None and name in run.medians:
            logs[run.source].append(log(run.medians[name]))
    squares = sum((each - fmean(held)) ** 2 for held in logs.values() for each in held)
    df = sum(len(held) - 1 for held in logs.values())
    if df < LEAST_DF:
        return None
    sd = sqrt(2 * squares / df)
    return max(LEAST_FLOOR, expm1(float(student_t.ppf(1 - FALSE_ALARMS, df)) * sd))


def changes(runs: Sequence[SuiteRun]) -> list[Change]:
    """Each benchmark of the last run against the last earlier run of its key that has it.

    The floor comes from the runs before the last one, which so can't excuse itself.
    """
    if not runs:
        return []
    last, found = runs[-1], []
    earlier = [run for run in runs[:-1] if run.key == last.key]
    for name, after_s in last.medians.items():
        before = next((run for run in reversed(earlier) if name in run.medians), None)
        if before is not None:
            found.append(Change(name, before.medians[name], after_s, noise_floor(earlier, name)))
    return found


def runs_missing(runs: Sequence[SuiteRun]) -> int:
    """How many more runs of the present source make a noise floor for the last run's key; 0: there is
    one.
    """
    if not runs:
        return LEAST_DF + 1
    alike = [run for run in runs if run.key == runs[-1].key]
    if any(noise_floor(alike, name) is not None for name in runs[-1].medians):
        return 0
    return max(1, LEAST_DF + 1 - sum(run.source == runs[-1].source for run in alike))


def change_table(found: Sequence[Change]) -> Table:
    """A row per benchmark, regressions marked."""
    return Table(
        caption="Median times of the last run against the run before, on the same bench key",
        columns=(
            Column(heading="Benchmark", share=1),
            Column(heading="Before, ms", align="right"),
            Column(heading="After, ms", align="right"),
            Column(heading="Change, %", align="right"),
            Column(heading="A/A noise, %", align="right"),
            Column(heading="Slower?"),
        ),
        rows=tuple(map(_row, found)),
        notes=(
            "Slower: by more than runs of equal source differ by chance, in 1 of 100 cases. Unknown: "
            "there are fewer than 3 runs of one source.",
        ),
    )


def _row(change: Change) -> tuple[str, ...]:
    if change.floor is None:
        noise, answer = "", "unknown"
    else:
        noise = f"{100 * change.floor:.1f}"
        answer = "yes" if change.is_regression else "no"
    return (
        change.name.rpartition("::")[2],
        f"{1000 * change.before_s:,.3f}",
        f"{1000 * change.after_s:,.3f}",
        f"{100 * change.slower:+.1f}",
        noise,
        answer,
    )
