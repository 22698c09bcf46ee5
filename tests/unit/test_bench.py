"""What `harness bench` concludes from its windows; the speeds themselves are no test's business."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from harness.bench.pipeline import PipelineResult
from harness.bench.step import flop_per_image
from harness.bench.timing import Timing, interleaved
from variants.catalog import CATALOG
from variants.geometry import spec_for


def slept(images: int, seconds: float, log: list[str], name: str) -> Any:
    def way() -> int:
        log.append(name)
        time.sleep(seconds)
        return images

    return way


def test_ways_take_turns_and_the_slower_one_is_slower() -> None:
    log: list[str] = []
    found = interleaved({"fast": slept(10, 0.002, log, "fast"), "slow": slept(10, 0.02, log, "slow")}, 5)
    assert log[-10:] == ["fast", "slow"] * 5
    assert found["fast"].images_per_second > 2 * found["slow"].images_per_second
    assert found["slow"].lowest <= found["slow"].images_per_second <= found["slow"].highest
    assert found["slow"].windows == 5


def test_the_warm_up_ends_when_all_ways_are_steady_and_no_slow_start_is_counted() -> None:
    lengths = iter([0.08, 0.04, *[0.01] * 20])

    def warming() -> int:
        time.sleep(next(lengths))
        return 1

    assert interleaved({"warming": warming}, 5)["warming"].lowest > 1 / 0.03


def timing(images_per_second: float) -> Timing:
    return Timing(5, images_per_second, images_per_second, images_per_second, images_per_second)


@pytest.mark.parametrize(
    ("loader", "step", "bound_by", "without"),
    [(100.0, 1000.0, "loader", 1000.0), (1000.0, 100.0, "step", 1000.0), (1000.0, 1100.0, "both", 1100.0)],
)
def test_the_slower_of_the_two_limits_training(loader: float, step: float, bound_by: str, without: float) -> None:
    found = PipelineResult(loader=timing(loader), step=timing(step), both=timing(min(loader, step)))
    assert (found.bound_by, found.without_bound) == (bound_by, without)


def test_a_step_counts_three_passes_but_for_the_gradient_of_the_image() -> None:
    net = spec_for(CATALOG["grouped_2gpu"], "mini")
    first = next(row for row in net.rows if row.layer.name == "conv1")
    assert flop_per_image(net) == 6 * net.macs - 2 * first.macs


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (("step", "no_lrn"), {"images_per_second", "share_of_gemm", "forward_ms"}),
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
