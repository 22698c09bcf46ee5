"""How long the rest of a run takes: by the speed of steady windows since the last start, and its evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import NET, prepared, recipe, run_spec

from harness.checkpoint import Checkpoints
from harness.cli.progress import RunLine
from harness.events import Evaluated, Event, RunResumed, StepsDone, TrainingStarted
from harness.pace import Pace
from harness.placement import Placement
from harness.records.record import Stamped
from harness.records.store import Store
from harness.run import execute
from harness.status import unfinished
from variants.recipes.recipe import Evaluation

STARTED = TrainingStarted(steps=400, images_per_epoch=100, parameters=1)


def window(last_step: int, elapsed_s: float, paused_s: float = 0.0) -> StepsDone:
    return StepsDone(
        last_step=last_step, epoch=last_step / 100, losses=(1.0,) * 20, top1_error=0.5, lr=0.1, images=160,
        elapsed_s=elapsed_s, wait_s=0.0, paused_s=paused_s,
    )  # fmt: skip


def evaluated(step: int, elapsed_s: float) -> Evaluated:
    return Evaluated(
        step=step, epoch=step / 100, protocol="centre", final=False, top1_error=0.5, top5_error=0.1, loss=1.0,
        images=8, elapsed_s=elapsed_s,
    )  # fmt: skip


def resumed(step: int) -> RunResumed:
    return RunResumed(step=step, epoch=step / 100, run_id="run", paused_s=9.0)


def pace_of(*events: Event) -> Pace:
    pace = Pace()
    for event in events:
        pace(event)
    return pace


FIRST = (
    STARTED,
    window(20, 100.0),
    window(40, 2.0),
    window(60, 2.0),
    window(80, 2.0),
    window(100, 2.0),
)


def test_the_first_window_of_a_start_does_not_count() -> None:
    assert pace_of(*FIRST[:2]).left_s is None
    assert pace_of(*FIRST).left_s == pytest.approx(300 * 0.1)


def test_validations_of_the_rest_are_added() -> None:
    """One of 5 s every 100 steps: three are left."""
    assert pace_of(*FIRST, evaluated(100, 5.0)).left_s == pytest.approx(300 * 0.1 + 3 * 5.0)


def test_a_window_in_which_the_process_was_stopped_does_not_count() -> None:
    """Of two steady windows one held a pause: the median of both would be 1,801 s."""
    pace = pace_of(*FIRST[:3], window(60, 3602.0, paused_s=3600.0))
    assert pace.left_s == pytest.approx(340 * 0.1)
    assert pace.spent_s == pytest.approx(100.0 + 2.0 + 2.0)


def test_after_a_resume_only_the_windows_since_then_count() -> None:
    """The machine is ten times faster now. Until a window is steady, the earlier ones are all that is known."""
    again = pace_of(*FIRST, evaluated(100, 5.0), resumed(100))
    assert again.left_s == pytest.approx(300 * 0.1 + 15.0)
    again(window(120, 50.0))
    assert again.left_s == pytest.approx(280 * 0.1 + 2.8 * 5.0)
    again(window(140, 0.2))
    assert again.left_s == pytest.approx(260 * 0.01 + 2.6 * 5.0)


def test_a_listener_that_knows_only_the_second_part_learns_the_rate_of_evaluations_from_two() -> None:
    pace = pace_of(STARTED, resumed(100), window(120, 9.0), window(140, 2.0), evaluated(150, 5.0))
    assert pace.left_s == pytest.approx(260 * 0.1)
    for event in (window(160, 2.0), evaluated(200, 5.0)):
        pace(event)
    assert pace.left_s == pytest.approx(240 * (0.1 + 5.0 / 50))


RULES = recipe(epochs=4.0, evaluation=Evaluation(protocols=("centre",), every_epochs=1.0))
SPEC = run_spec(32, RULES)


def test_a_resumed_run_tells_its_length_and_how_far_it_is(
    tmp_path: Path, torch_as_before: None
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StepsDone) and event.last_step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(SPEC, prepared(32), Store(tmp_path), Placement(), stop, checkpoint_s=0.0)
    line, said = RunLine(), list[str]()

    def listen(event: Event) -> None:
        line(event)
        said.append(f"{line.pace.step} of {line.pace.steps}, {line.status}".partition("  ")[0])

    execute(SPEC, prepared(32), Store(tmp_path), Placement(), listen)
    assert said[:2] == ["0 of 16, starting", "4 of 16, resumed after step 4"]
    assert said[2].startswith("8 of 16, loss ")


def test_a_run_that_has_resumed_but_written_no_event_yet_is_listed_with_its_checkpoint(
    tmp_path: Path,
) -> None:
    from harness.machine.collect_env import describe
    from harness.train import TrainState
    from variants.modules.alexnet import build

    state = TrainState.start(build(NET), RULES)
    state.done = 100
    past = [Stamped(t_s=0.0, event=event) for event in FIRST]
    Checkpoints(tmp_path, SPEC, 0.0, lambda: 0.0).save(state, past, "run-1")
    with Store(tmp_path).open(SPEC, describe(tmp_path, Placement())) as writer:
        (starting,) = unfinished(tmp_path)
        assert (starting.name, starting.state) == (writer.run_id, "running")
        assert (starting.step, starting.steps, starting.checkpoint) == (100, 400, 100)
        assert starting.left_s == pytest.approx(300 * 0.1)
        writer.fail("failed", "for a test")
    other = replace(SPEC, seed=1)
    with Store(tmp_path).open(other, describe(tmp_path, Placement())) as writer:
        found = {one.state: one for one in unfinished(tmp_path)}
        assert (found["running"].step, found["running"].steps) == (0, None)
        assert found["stopped"].left_s == pytest.approx(300 * 0.1)
        writer.fail("failed", "for a test")
