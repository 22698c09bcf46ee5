"""`status` and `reproduce` say how many of a study's runs are done, running and to do, and how long the rest takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_pace import FIRST
from tiny_training import prepared, recipe, run_spec

from harness.checkpoint import Checkpoints
from harness.events import Event, StepsDone
from harness.machine.collect_env import describe
from harness.pace import pace_of
from harness.placement import Placement
from harness.records.record import Stamped
from harness.records.store import Store
from harness.run import execute
from harness.spec import RunSpec
from harness.status import unfinished
from harness.studies.progress import StudyState, remove_plan, study_states, write_plan

pytestmark = pytest.mark.usefixtures("torch_as_before")

# of one plan of two at once: a short variant, and one of ten times as many epochs
SHORT, LONG = run_spec(32, recipe(epochs=4.0)), run_spec(32, recipe(epochs=40.0))
RUNS = [replace(SHORT, seed=seed) for seed in range(3)] + [replace(LONG, variant="long", seed=0)]


def run(root: Path, spec: RunSpec, listen: Any = lambda event: None) -> None:
    execute(spec, prepared(32), Store(root), Placement(), listen)


def state(root: Path) -> StudyState:
    (found,) = study_states(root, unfinished(root))
    return found


def test_a_run_is_done_failed_running_or_to_do(tmp_path: Path) -> None:
    run(tmp_path, RUNS[0])
    write_plan(tmp_path, "tiny", RUNS, RUNS[1:], at_once=2)
    assert state(tmp_path).words == "study tiny: 1 of 4 runs done, 0 running, 3 to do"
    with Store(tmp_path).open(RUNS[1], describe(tmp_path, Placement())) as writer:
        assert (state(tmp_path).running, state(tmp_path).todo) == (1, 2)
        writer.fail("failed", "for a test")
    assert state(tmp_path).words == "study tiny: 1 of 4 runs done, 1 failed, 0 running, 2 to do"
    run(tmp_path, RUNS[1])
    assert (state(tmp_path).done, state(tmp_path).failed) == (2, 0)
    remove_plan(tmp_path, "tiny")
    assert study_states(tmp_path, []) == []


def test_records_of_before_the_plan_that_do_not_count_are_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as those of another machine."""
    run(tmp_path, RUNS[0])
    monkeypatch.setattr("harness.studies.progress.run_id_start", lambda now: "29990101T000000Z")
    write_plan(tmp_path, "tiny", RUNS, RUNS, at_once=1)
    assert (state(tmp_path).done, state(tmp_path).todo) == (0, 4)


def test_the_time_left_is_that_of_the_running_runs_and_of_epochs_like_theirs(tmp_path: Path) -> None:
    """A run has 30 s left of 138, for 4 epochs. Of those to do two have 4 epochs, and one has 40."""
    write_plan(tmp_path, "tiny", RUNS, RUNS, at_once=2)
    assert state(tmp_path).left_s is None
    whole_s = pace_of(FIRST).spent_s + 30.0
    with Store(tmp_path).open(RUNS[0], describe(tmp_path, Placement())) as writer:
        for event in FIRST:
            writer.event(event)
        writer._events.flush()
        found = state(tmp_path)
        writer.fail("failed", "for a test")
    assert (found.running, found.todo) == (1, 3)
    assert found.left_s == pytest.approx((30.0 + whole_s / 4 * (4 + 4 + 40)) / 2)


def test_a_killed_run_of_the_study_is_to_do_again(tmp_path: Path) -> None:
    from tiny_training import net

    from harness.train import TrainState

    write_plan(tmp_path, "tiny", RUNS, RUNS, at_once=2)
    past = [Stamped(t_s=0.0, event=event) for event in FIRST]
    saved = TrainState.start(net(), SHORT.recipe)
    Checkpoints(tmp_path, RUNS[0], 0.0, lambda: 0.0).save(saved, past, "run-1")
    assert [one.state for one in unfinished(tmp_path)] == ["stopped"]
    assert (state(tmp_path).running, state(tmp_path).todo) == (0, 4)


def test_status_shows_studies_above_runs(tmp_path: Path, call: Any) -> None:
    write_plan(tmp_path / "results", "tiny", RUNS, RUNS[2:], at_once=2)

    def listen(event: Event) -> None:
        if isinstance(event, StepsDone):
            said.append(call("status").out)

    said: list[str] = []
    run(tmp_path / "results", RUNS[2], listen)
    heading, study, empty, runs, *_ = said[0].splitlines()
    assert heading.split() == ["study", "runs", "done", "failed", "running", "to", "do", "time", "left"]
    assert study.split() == ["tiny", "2", "0", "1", "1"]
    assert (empty.strip(), runs.split()[:2]) == ("", ["run", "state"])
