"""What the measurements found, as the value that is printed, sealed and shown in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.bench.layers import LayersResult
from harness.bench.loader import LoaderResult
from harness.bench.pipeline import PipelineResult
from harness.bench.step import PARTS_COVER, StepResult
from harness.bench.timing import Windows
from harness.records.bench import BenchResult, Kind

MIB = 1 << 20
TOO_LOW = (
    "the least time is {:.0%} of the measured one, so a rate was measured too low, as happens beside other "
    "load; measure again on an idle machine"
)
NO_PEAK = "the system does not say how much memory the process needed at most"


def step_result(found: StepResult, others: Sequence[str], missing: Mapping[str, str]) -> BenchResult:
    """others: the names of what the step is compared with. missing: why others were not measured."""
    parts, roof, rates = found.part_ms, found.roofline, found.rates
    lacking = {"peak_memory_mib": NO_PEAK} if found.peak_memory_mib is None else {}
    if roof.reached > 1:
        lacking["roofline_reached"] = TOO_LOW.format(roof.reached)
    values: dict[str, float | None] = {
        "forward_ms": parts.forward_s,
        "backward_ms": parts.backward_s,
        "update_ms": parts.update_s,
        "parts_cover": found.parts_cover,
        "peak_memory_mib": found.peak_memory_mib,
        "gflops": found.images_per_second * found.flop_per_image / 1e9,
        "gemm_gflops": rates.gemm_flops / 1e9,
        "share_of_gemm": found.share_of_gemm,
        "conv_gflops": rates.conv_flops / 1e9,
        "share_of_conv": found.share_of_conv,
        "memory_gb_per_s": rates.bytes_per_second / 1e9,
        "least_arithmetic_ms": 1000 * roof.arithmetic_s,
        "least_memory_ms": 1000 * roof.memory_s,
        "roofline_reached": roof.reached if roof.reached <= 1 else None,
        **found.energy.values,
    }
    return _result(
        "step",
        found.windows,
        ("step", *others),
        ratios=others,
        bound_by=roof.bound_by,
        values=values,
        notes={**found.energy.flags, **_unaccounted(found.parts_cover)},
        missing={**missing, **lacking, **found.energy.missing},
    )


def _unaccounted(parts_cover: float) -> dict[str, str]:
    if parts_cover >= PARTS_COVER:
        return {}
    return {"parts": f"forward, backward and update take only {parts_cover:.0%} of the step's time"}


def loader_result(found: LoaderResult) -> BenchResult:
    """With a ratio to each peer."""
    peers = [name for name in found.windows.of if name != "loader"]
    return _result(
        "loader",
        found.windows,
        ("loader", *peers),
        ratios=peers,
        notes={"loader_name": found.choice.name, "loader_reason": found.choice.reason},
        missing=found.missing,
    )


def pipeline_result(found: PipelineResult) -> BenchResult:
    """With what limits the speed, and the speed to expect without that limit."""
    return _result(
        "pipeline",
        found.windows,
        ("both", "loader", "step"),
        bound_by=found.bound_by,
        values={"without_bound_images_per_second": found.without_bound, **found.energy.values},
        notes={
            "loader_name": found.choice.name,
            "loader_reason": found.choice.reason,
            **found.energy.flags,
        },
        missing=found.energy.missing,
    )


def roofline_result(found: LayersResult) -> BenchResult:
    """With a row per layer; the timing is that of all layers one after another."""
    reached = found.ceilings
    values: dict[str, float | None] = {
        "gemm_gflops": reached.gemm_flops / 1e9,
        "conv_gflops": reached.conv_flops / 1e9,
    }
    values |= {f"copy_{size / MIB:g}_mib_gb_per_s": rate / 1e9 for size, rate in reached.copies.items()}
    return _result("roofline", found.windows, ("layers",), values=values, layers=found)


def _result(
    kind: Kind,
    windows: Windows,
    ways: Sequence[str],
    *,
    ratios: Sequence[str] = (),
    bound_by: str | None = None,
    values: Mapping[str, float | None] = {},
    layers: LayersResult | None = None,
    notes: Mapping[str, str] = {},
    missing: Mapping[str, str] = {},
) -> BenchResult:
    """ways: the names of the timings, the command's own first. ratios: those it is compared with."""
    return BenchResult(
        kind=kind,
        bench_id="",  # it gets one when it is sealed
        measured_utc="",
        warm_up_windows=windows.warm_ups,
        steady=windows.steady,
        timings={name: windows.timing(name) for name in ways},
        ratios={name: windows.ratio(ways[0], name) for name in ratios},
        bound_by=bound_by,
        values=dict(values),
        layers=() if layers is None else layers.layers,
        notes=dict(notes),
        missing=dict(missing),
    )
