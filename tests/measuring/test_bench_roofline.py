"""The roofline of layers: what counts, which copy is the ceiling, and that nothing is above its bound."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from harness.bench import ceilings as bench_ceilings
from harness.bench.ceilings import Ceilings, ceiling_probes, ceilings
from harness.bench.layers import CeilingTooLowError, layer_time, measure_layers, refuse_above_bound
from harness.bench.results import roofline_result
from harness.bench.roofline import layer_work
from harness.bench.timing import Window, Windows
from harness.data.base import Prepared
from harness.report.roofline import roofline_plot, roofline_table
from harness.spec import RunSpec

MIB = 1 << 20
REACHED = Ceilings(
    gemm_flops=1e11, conv_flops=2e11, copies={MIB: 8e10, 16 * MIB: 4e10, 512 * MIB: 1e10}
)


def test_a_layer_counts_what_both_passes_need(measured: tuple[RunSpec, Prepared]) -> None:
    spec, batch = measured[0], measured[0].recipe.batch_size
    work = {each.row.layer.name: each for each in layer_work(spec)}
    conv1, pool1, drop6, fc8 = (work[name] for name in ("conv1", "pool1", "drop6", "fc8"))
    image, made = 3 * 32 * 32, 24 * 32 * 32
    # the image has no gradient: one pass forward, one for the weights; the output's gradient is read once
    assert conv1.macs == 2 * conv1.row.macs * batch
    assert conv1.bytes == 4 * batch * (2 * image + 2 * made) + 2 * 4 * conv1.row.parameters
    pooled = 24 * 16 * 16
    assert pool1.bytes == 4 * batch * 2 * (made + pooled)
    assert drop6.bytes == 4 * batch * 4 * drop6.row.input[0]
    assert fc8.macs == 3 * fc8.row.macs * batch
    given = fc8.row.input[0]
    assert fc8.bytes == 4 * batch * (3 * given + 3 * 10) + 3 * 4 * fc8.row.parameters


@pytest.mark.parametrize(
    ("set_bytes", "ceiling"),
    [(1, 8e10), (MIB, 8e10), (2 * MIB, 8e10), (16 * MIB, 4e10), (99 * MIB, 4e10), (4096 * MIB, 1e10)],
)
def test_a_layer_is_held_against_the_copy_of_its_own_size(set_bytes: int, ceiling: float) -> None:
    assert REACHED.bytes_per_second(set_bytes) == ceiling


def test_ceilings_are_the_highest_of_all_windows(
    measured: tuple[RunSpec, Prepared], brief: None
) -> None:
    sizes = bench_ceilings.COPY_SETS
    names = ["gemm", "conv", "ideal conv", *(f"copy {size}" for size in sizes)]
    assert names == list(ceiling_probes(measured[0], torch.device("cpu")))
    windows = [Window(0.0, 1.0, images, 1.0) for images in (1, 9, 2)]
    found = ceilings(measured[0], Windows(6, True, dict.fromkeys(names, windows)))
    assert found.gemm_flops == 9 * 2 * bench_ceilings.GEMM_SIDE**3
    assert found.copies == {size: 9 * size for size in sizes}


def test_the_bound_is_the_longer_of_arithmetic_and_memory(measured: tuple[RunSpec, Prepared]) -> None:
    work = {each.row.layer.name: each for each in layer_work(measured[0])}
    conv = layer_time(work["conv2"], REACHED, 100.0)
    assert (conv.bound, conv.least_ms) == ("arithmetic", pytest.approx(2000 * conv.macs / 2e11))
    assert conv.gflops == pytest.approx(2 * conv.macs / 1e8)
    relu = layer_time(work["relu1"], REACHED, 100.0)
    assert (relu.bound, relu.intensity) == ("memory", 0.0)
    # 12 MiB: between two copies, the faster
    assert relu.least_ms == pytest.approx(1000 * relu.bytes / 8e10)


def test_a_layer_above_its_bound_is_an_error_that_names_it(measured: tuple[RunSpec, Prepared]) -> None:
    layers = [layer_time(work, REACHED, 1000.0) for work in layer_work(measured[0])]
    refuse_above_bound(tuple(layers))
    relu = next(place for place, layer in enumerate(layers) if layer.name == "relu2")
    layers[relu] = replace(layers[relu], ms=layers[relu].least_ms / 1.5)
    with pytest.raises(
        CeilingTooLowError, match=r"relu2 takes .* bandwidth of copying was measured too low"
    ):
        refuse_above_bound(tuple(layers))


def test_the_tool_refuses_a_ceiling_that_a_layer_exceeds(
    measured: tuple[RunSpec, Prepared], brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Ceilings(1.0, 1.0, {MIB: 1e30})
    monkeypatch.setattr("harness.bench.layers.ceilings", lambda *_: slow)
    with pytest.raises(CeilingTooLowError, match="the rate of arithmetic was measured too low"):
        measure_layers(measured[0], torch.device("cpu"), 5)


def test_every_layer_is_measured_and_shown(
    measured: tuple[RunSpec, Prepared], brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = Ceilings(1e18, 1e18, dict.fromkeys(bench_ceilings.COPY_SETS, 1e18))
    monkeypatch.setattr("harness.bench.layers.ceilings", lambda *_: fast)
    result = roofline_result(measure_layers(measured[0], torch.device("cpu"), 5))
    names = [row.layer.name for row in measured[0].net.rows]
    assert [layer.name for layer in result.layers] == names
    batch = measured[0].recipe.batch_size
    assert result.main.images_per_second == pytest.approx(
        batch / sum(layer.ms / 1000 for layer in result.layers), rel=1.0
    )
    table = roofline_table(result)
    assert [row[0] for row in table.rows] == names
    assert roofline_plot(result) == roofline_plot(result)
    assert roofline_plot(result, kind="png").startswith(b"\x89PNG")
    assert roofline_plot(result, kind="pdf").startswith(b"%PDF")
