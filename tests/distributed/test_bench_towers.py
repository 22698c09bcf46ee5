"""`bench towers`: two processes train at the same time as what they are compared with, and end."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from calling import Call
from processes import CONTEXT  # whose processes have torch loaded
from tasks import run_of
from test_two_towers_run import COLUMNS

from harness.bench import step, towers
from harness.bench.towers import TOWERS, measure_towers
from harness.errors import RunFailed
from variants.communication import bytes_per_tower, tower_links

SPEC = replace(run_of(1), net=COLUMNS)


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (step, towers):
        monkeypatch.setattr(module, "WINDOW_S", 0.02)


def test_all_ways_are_measured_and_the_time_of_communication_is_part_of_the_step() -> None:
    found = measure_towers(SPEC, replace(run_of(1), variant="half"), "cpu", 5)
    timings = found.windows.timings()
    assert list(timings) == [
        TOWERS, "half, one process", "tiny, one process", "tiny, one process with two threads",
    ]  # fmt: skip
    assert all(timing.windows == 5 for timing in timings.values())
    ratio = found.time_ratios["half, one process"]
    pairs = zip(found.windows.of["half, one process"], found.windows.of[TOWERS], strict=True)
    assert ratio.per_second == median(half.speed / both.speed for half, both in pairs)
    slowest_ms = 1000 * SPEC.recipe.batch_size / timings[TOWERS].lowest
    assert all(0 < each < slowest_ms for each in found.communication_ms)
    assert found.bytes_sent == bytes_per_tower(tower_links(COLUMNS, SPEC.recipe.batch_size))
    assert not CONTEXT.active_children()


def test_a_process_that_ends_ends_the_measurement() -> None:
    with towers._tower_pair(SPEC, "cpu") as pair:
        assert pair().images == SPEC.recipe.batch_size
        assert all(used.cpu_s > 0 and used.communication_s > 0 for used in pair.used[-1])
        CONTEXT.active_children()[0].kill()
        pair.steps = 10_000
        with pytest.raises(RunFailed, match="a tower's process has ended"):
            pair()
    assert not CONTEXT.active_children()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ungrouped",), "ungrouped can't run as two towers: norm1"),
        (("--device", "cuda:1"), "bench towers has no device 'cuda:1'; use cpu or cuda"),
    ],
)
def test_what_can_t_be_measured_is_refused(call: Call, words: tuple[str, ...], sentence: str) -> None:
    said = call("bench", "towers", *words)
    assert said.code == 2
    assert said.error.startswith(sentence)
