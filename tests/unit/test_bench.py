"""What `harness bench` concludes from its windows; the speeds themselves are no test's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from harness.bench import pipeline
from harness.bench.pipeline import PipelineResult
from harness.bench.roofline import Rates, layer_bytes, probes, rates, roofline
from harness.bench.step import Step, flop_per_image, measure_step
from harness.bench.timing import Timing, interleaved
from harness.data.base import Prepared
from harness.placement import Placement
from harness.resolve import RunRequest, prepare_for, run_spec
from harness.spec import RunSpec
from variants.catalog import CATALOG
from variants.geometry import spec_for


class Clock:
    """Time that passes only where a test says so: the load of the machine changes nothing."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("harness.bench.timing.time", made)
    return made


def test_ways_take_turns_and_the_slower_one_is_slower(clock: Clock) -> None:
    log: list[str] = []

    def taking(seconds: float, name: str) -> int:
        log.append(name)
        clock.now += seconds
        return 10

    found = interleaved(
        {"fast": partial(taking, 0.002, "fast"), "slow": partial(taking, 0.02, "slow")}, 5
    )
    assert log[-10:] == ["fast", "slow"] * 5
    assert found["fast"].images_per_second > 2 * found["slow"].images_per_second
    assert found["slow"].lowest <= found["slow"].images_per_second <= found["slow"].highest
    assert found["slow"].windows == 5


def test_the_warm_up_ends_when_all_ways_are_steady_and_no_slow_start_is_counted(clock: Clock) -> None:
    lengths = iter([0.08, 0.04, *[0.01] * 20])

    def warming() -> int:
        clock.now += next(lengths)
        return 1

    assert interleaved({"warming": warming}, 5)["warming"].lowest > 1 / 0.03


def timing(images_per_second: float) -> Timing:
    return Timing(5, images_per_second, images_per_second, images_per_second, images_per_second)


@pytest.mark.parametrize(
    ("loader", "step", "bound_by", "without"),
    [
        (100.0, 1000.0, "loader", 1000.0),
        (1000.0, 100.0, "step", 1000.0),
        (1000.0, 1100.0, "both", 1100.0),
    ],
)
def test_the_slower_of_the_two_limits_training(
    loader: float, step: float, bound_by: str, without: float
) -> None:
    found = PipelineResult(loader=timing(loader), step=timing(step), both=timing(min(loader, step)))
    assert (found.bound_by, found.without_bound) == (bound_by, without)


def test_a_step_counts_three_passes_but_for_the_gradient_of_the_image() -> None:
    net = spec_for(CATALOG["grouped_2gpu"], "mini")
    first = next(row for row in net.rows if row.layer.name == "conv1")
    assert flop_per_image(net) == 6 * net.macs - 2 * first.macs


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (
            ("step", "no_lrn"),
            {"images_per_second", "share_of_gemm", "forward_ms", "bound_by", "roofline_reached"},
        ),
        (("loader", "no_lrn", "--data", "synthetic"), {"images_per_cpu_second", "ratio_to", "loader"}),
        (("pipeline", "no_lrn", "--data", "synthetic"), {"bound_by", "loader", "step", "both"}),
    ],
)
def test_each_command_prints_one_json_object(call: Any, words: tuple[str, ...], keys: set[str]) -> None:
    said = call("bench", *words, "--windows", "5", "--json", "--set", "batch_size=8")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert keys <= set(found)
    assert (found["batch_size"], found["overrides"]) == (8, ["batch_size=8"])


def test_a_layer_reads_and_writes_what_its_passes_need() -> None:
    net = spec_for(CATALOG["grouped_2gpu"], "mini")
    rows = {row.layer.name: row for row in net.rows}
    relu, conv = rows["relu1"], rows["conv2"]
    elements = 24 * 32 * 32  # of a map that a ReLU reads and writes: forward 2, backward 3
    assert layer_bytes(relu, 64, 4) == 5 * 64 * elements * 4
    given, made = (side[0] * side[1] * side[2] for side in (conv.input, conv.output))
    assert layer_bytes(conv, 64, 2) == 2 * 64 * (3 * given + 3 * made) + 3 * 4 * conv.parameters


def test_the_least_time_is_each_layers_longer_one(measured: tuple[RunSpec, Prepared]) -> None:
    """With fast memory only arithmetic is left; with fast arithmetic all layers and the update wait for memory."""
    spec, _ = measured
    batch, fast = spec.recipe.batch_size, 1e30
    arithmetic = roofline(spec, Rates(gemm_flops=1e9, conv_flops=1e9, bytes_per_second=fast), 10.0)
    assert arithmetic.arithmetic_s == pytest.approx(batch * flop_per_image(spec.net) / 1e9)
    assert (arithmetic.bound_by, arithmetic.reached) == (
        "arithmetic",
        pytest.approx(arithmetic.arithmetic_s / 10),
    )
    memory = roofline(spec, Rates(gemm_flops=fast, conv_flops=fast, bytes_per_second=1e9), 10.0)
    moved = sum(layer_bytes(row, batch, 4) for row in spec.net.rows) + 11 * 4 * spec.net.parameters
    assert (memory.arithmetic_s, memory.bound_by) == (0.0, "memory")
    assert memory.memory_s == pytest.approx(moved / 1e9)
    fused = replace(spec, recipe=replace(spec.recipe, fused_update=True))
    less = memory.memory_s - roofline(fused, Rates(fast, fast, 1e9), 10.0).memory_s
    assert less == pytest.approx(6 * 4 * spec.net.parameters / 1e9)


def test_rates_come_from_how_often_each_probe_did_its_work(measured: tuple[RunSpec, Prepared]) -> None:
    spec, _ = measured
    ways = probes(spec, torch.device("cpu"))
    assert {name: way() for name, way in ways.items()} == {"gemm": 4, "conv": 4, "copy": 1}
    found = rates(spec, {"gemm": 2.0, "conv": 3.0, "copy": 4.0})
    largest = max(row.macs for row in spec.net.rows if row.layer.kind == "conv")
    assert found == Rates(4.0 * 1536**3, 6.0 * largest * spec.recipe.batch_size, 8.0 * 2**28)


@pytest.fixture
def measured() -> tuple[RunSpec, Prepared]:
    request = RunRequest("no_lrn", "mini", "synthetic", 0, limits=(160, 8))
    prepared = prepare_for(request, "folder")
    return run_spec(request, prepared, "cpu"), prepared


def test_both_together_leaves_the_batch_of_the_step_alone(measured: tuple[RunSpec, Prepared]) -> None:
    """An epoch ends with a short batch; the step that is measured alone must not get it."""
    spec, prepared = measured
    step = Step(spec, torch.device("cpu"))
    own = step.images
    assert pipeline._both(spec, prepared, Placement(loader="folder"), step, 160)() == 160
    assert step.images is own


def test_the_parts_of_a_step_are_those_of_all_windows(
    measured: tuple[RunSpec, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = measured

    def windows(ways: dict[str, Callable[[], int]], number: int) -> dict[str, Timing]:
        for _ in range(number):
            ways["step"]()
        return dict.fromkeys(ways, timing(1.0))

    def timed(self: Step) -> int:
        self.parts.append((float(len(self.parts)), 0.0, 0.01))
        return 1

    monkeypatch.setattr("harness.bench.step.interleaved", windows)
    monkeypatch.setattr("harness.bench.step.WINDOW_S", 0.1)
    monkeypatch.setattr(Step, "__call__", timed)
    found = measure_step(spec, torch.device("cpu"), 5)  # the first step, then 5 windows of 10
    assert found.forward_ms == 1000 * 25.5
