"""The training step: its parts, its FLOP, the least time it could take, and its peers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness.bench.ceilings import Rates, rate_probes, rates
from harness.bench.roofline import layer_bytes, layer_work, roofline
from harness.bench.step import PARTS_COVER, Step, flop_per_image, measure_step
from harness.data.base import Prepared
from harness.spec import RunSpec
from variants.catalog import CATALOG
from variants.geometry import spec_for


def test_a_step_counts_three_passes_but_for_the_gradient_of_the_image(
    measured: tuple[RunSpec, Prepared],
) -> None:
    net = measured[0].net
    first = next(row for row in net.rows if row.layer.name == "conv1")
    assert flop_per_image(measured[0]) == 6 * net.macs - 2 * first.macs


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
    assert arithmetic.arithmetic_s == pytest.approx(batch * flop_per_image(spec) / 1e9)
    assert (arithmetic.bound_by, arithmetic.reached) == (
        "arithmetic",
        pytest.approx(arithmetic.arithmetic_s / 10),
    )
    memory = roofline(spec, Rates(gemm_flops=fast, conv_flops=fast, bytes_per_second=1e9), 10.0)
    moved = sum(work.bytes for work in layer_work(spec)) + 11 * 4 * spec.net.parameters
    assert (memory.arithmetic_s, memory.bound_by) == (0.0, "memory")
    assert memory.memory_s == pytest.approx(moved / 1e9)
    fused = replace(spec, recipe=replace(spec.recipe, fused_update=True))
    less = memory.memory_s - roofline(fused, Rates(fast, fast, 1e9), 10.0).memory_s
    assert less == pytest.approx(6 * 4 * spec.net.parameters / 1e9)


def test_rates_come_from_how_often_each_probe_did_its_work(measured: tuple[RunSpec, Prepared]) -> None:
    spec, _ = measured
    ways = rate_probes(spec, torch.device("cpu"))
    assert {name: way() for name, way in ways.items()} == {"gemm": 4, "conv": 4, "copy": 1}
    found = rates(spec, {"gemm": 2.0, "conv": 3.0, "copy": 4.0})
    largest = max(row.macs for row in spec.net.rows if row.layer.kind == "conv")
    assert found == Rates(4.0 * 1536**3, 6.0 * largest * spec.recipe.batch_size, 8.0 * 2**28)


def test_the_parts_of_a_step_sum_to_its_time(measured: tuple[RunSpec, Prepared], brief: None) -> None:
    """Python's own work between the parts is below 0.1 ms of a step of some 10 ms."""
    found = measure_step(measured[0], torch.device("cpu"), 5)
    assert len(found.parts) == 5
    assert PARTS_COVER < found.parts_cover <= 1


def test_the_parts_are_those_of_the_measured_windows(measured: tuple[RunSpec, Prepared]) -> None:
    """A mean over the steps of each window, whatever was before."""
    step = Step(measured[0], torch.device("cpu"))
    step._marks = [(0.0, 1.0, 3.0, 6.0), (6.0, 9.0, 13.0, 18.0)]
    step.finish()
    assert step.parts == [(2.0, 3.0, 4.0)]
    step._marks = [(0.0, 1.0, 1.0, 1.0)]
    step.finish()
    assert step.parts[-1] == (1.0, 0.0, 0.0)
