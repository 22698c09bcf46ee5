"""Each check of a run fails on a record with the fault it looks for, and on no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from study_records import Study

from harness.events import StepsDone, TrainingDone
from harness.records.store import Store
from harness.report.build import build
from harness.report.cached import CachedRecord
from harness.report.checks import EACH, checks


class Fake:
    """A record with a fault; what it does not override is that of a sound record."""

    def __init__(self, sound: CachedRecord, seed: int = 0) -> None:
        self.run_id, self.spec, self.summary = (
            f"run-{seed}",
            replace(sound.spec, seed=seed),
            sound.summary,
        )
        self.listed = [
            StepsDone(last_step=60, epoch=1.0, losses=(0.7,) * 60, top1_error=0.1, lr=0.01, images=3840, elapsed_s=1.0,
                      wait_s=0.0),
            TrainingDone(steps=60, images=3840, elapsed_s=1.0, wait_s=0.0, unchanged=()),
        ]  # fmt: skip
        self.answers = np.arange(sound.spec.data.val_images) % 7 != seed

    def events(self) -> list[Any]:
        return self.listed

    def correct(self, protocol: str, k: int) -> Any:
        return self.answers


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> CachedRecord:
    study = Study(tmp_path_factory.mktemp("checks") / "results")
    return CachedRecord.of(study.run(study.spec("no_lrn", 0), 0.2))


def change(**fields: Any) -> Callable[[Fake], None]:
    def apply(fake: Fake) -> None:
        fake.summary = replace(fake.summary, **fields)

    return apply


def with_results(**fields: Any) -> Callable[[Fake], None]:
    def apply(fake: Fake) -> None:
        results = {name: replace(found, **fields) for name, found in fake.summary.results.items()}
        fake.summary = replace(fake.summary, results=results)

    return apply


def lose_a_window(fake: Fake) -> None:
    fake.listed[0] = replace(fake.listed[0], losses=(0.7,) * 59)


def leave_a_weight(fake: Fake) -> None:
    fake.listed[1] = replace(fake.listed[1], unchanged=("conv2.weight",))


FAULTS: dict[str, Callable[[Fake], None]] = {
    "training loss": change(final_train_loss=2.29),  # ln(10) is 2.303
    "lower than that of guessing": with_results(top1_error=0.897),
    "evaluated once": with_results(images=1999),
    "finite loss": lose_a_window,
    "weight and bias": leave_a_weight,
}


@pytest.mark.parametrize("says", FAULTS)
def test_a_fault_fails_its_own_check_only(says: str, sound: CachedRecord) -> None:
    good, bad = Fake(sound, 0), Fake(sound, 1)
    FAULTS[says](bad)
    found = checks([good, bad])  # type: ignore[list-item]
    assert [(says in one.says, [name for name, _ in one.failed]) for one in found if one.failed] == [
        (True, ["run-1"])
    ]
    assert len(FAULTS) == len(EACH)


def test_two_seeds_with_the_same_answers_are_found(sound: CachedRecord) -> None:
    first, second = Fake(sound, 0), Fake(sound, 1)
    second.answers = first.answers
    assert checks([first, second])[-1].failed == (("run-1", "the same as seed 0"),)  # type: ignore[list-item]


def test_a_resumed_run_has_each_step_once(sound: CachedRecord) -> None:
    fake = Fake(sound)
    half = replace(fake.listed[0], last_step=40, losses=(0.7,) * 40)
    rest = replace(fake.listed[0], last_step=60, losses=(0.7,) * 30)  # ten steps were repeated
    fake.listed[:1] = [half, rest]
    assert not any(one.failed for one in checks([fake]))  # type: ignore[list-item]


def test_unfinished_runs_are_not_checked(sound: CachedRecord) -> None:
    failed = SimpleNamespace(summary=SimpleNamespace(status="failed"))
    assert checks([failed]) == ()  # type: ignore[list-item]


def test_the_report_shows_the_checks(tmp_path: Path) -> None:
    study = Study(tmp_path / "results")
    for seed in (0, 1):
        study.run(study.spec("no_lrn", seed), 0.2)
    model = build("reproduce", Store(study.root).records())
    (table,) = next(one for one in model.sections if one.title.startswith("Checks")).blocks
    passed = [row[1] for row in table.rows]  # type: ignore[union-attr]
    # these records are older than the weights' check
    assert passed == ["2 of 2"] * 4 + [
        "not recorded",
        "2 of 2",
    ]
