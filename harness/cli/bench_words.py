"""What `bench` prints: one JSON object, or sentences and a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.placement import Placement
from harness.records.bench import BenchResult, LayerTime, Timing
from harness.serialization import to_plain
from harness.spec import RunSpec
from harness.tables import Table

NOT_STEADY = (
    "no steady state was reached in {0} warm-up windows: the speeds still changed, so these numbers are "
    "not reliable; measure again on an idle machine"
)


def as_object(spec: RunSpec, where: Placement, found: BenchResult) -> dict[str, Any]:
    """The result with its own timing at the top; every number has six digits."""
    timings = {name: to_plain(timing) for name, timing in found.timings.items()}
    main = next(iter(timings))
    plain: dict[str, Any] = {
        "variant": spec.variant,
        "recipe": spec.recipe.name,
        "overrides": list(spec.overrides),
        "batch_size": spec.recipe.batch_size,
        "precision": spec.recipe.precision,
        "placement": to_plain(where),
        **timings[main],
        "warm_up_windows": found.warm_up_windows,
        "steady": found.steady,
        **found.notes,
        **found.values,
    }
    plain |= {} if found.bound_by is None else {"bound_by": found.bound_by}
    if found.kind == "pipeline":
        plain |= timings
    elif found.kind != "roofline":
        plain["ratio_to"] = {name: ratio.per_cpu_second for name, ratio in found.ratios.items()}
        plain["ratios"] = {name: to_plain(ratio) for name, ratio in found.ratios.items()}
        plain["peers"] = {name: timing for name, timing in timings.items() if name != main}
    if found.layers:
        plain["layers"] = [_layer(layer) for layer in found.layers]
    rounded: dict[str, Any] = _rounded(plain | {"missing": found.missing})
    return rounded


def _layer(layer: LayerTime) -> dict[str, Any]:
    derived = {"intensity": layer.intensity, "gflops": layer.gflops, "reached": layer.reached}
    plain: dict[str, Any] = to_plain(layer)
    return plain | derived


def _rounded(plain: Any) -> Any:
    if isinstance(plain, float):
        return float(f"{plain:.6g}")
    if isinstance(plain, dict):
        return {key: _rounded(held) for key, held in plain.items()}
    return [_rounded(held) for held in plain] if isinstance(plain, list) else plain


def sentences(spec: RunSpec, found: BenchResult) -> Iterator[str]:
    """What a person wants to know, the most important first."""
    yield from {"step": _step, "loader": _loader, "pipeline": _pipeline, "roofline": _roofline}[
        found.kind
    ](spec, found)
    for name, ratio in found.ratios.items():
        yield (
            f"{name}: {speed_words(found.timings[name])}; this one is {ratio.per_second:.2f} times as "
            f"fast ({_confidence(ratio.coverage)} {ratio.low:.2f} to {ratio.high:.2f}), per CPU second "
            f"{ratio.per_cpu_second:.2f} times"
        )
    yield from _energy_and_doubts(found)
    reasons: dict[str, list[str]] = {}
    for name, reason in found.missing.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        yield f"not measured: {', '.join(names)}: {reason}"
    if not found.steady:
        yield NOT_STEADY.format(found.warm_up_windows)


def _step(spec: RunSpec, found: BenchResult) -> Iterator[str]:
    held = found.values
    yield f"{spec.variant}, batch {spec.recipe.batch_size}, {spec.recipe.precision}: {speed_words(found.main)}"
    memory = held["peak_memory_mib"]
    peak = "" if memory is None else f"; at most {memory:,.0f} MiB of memory"
    yield (
        f"forward {held['forward_ms']:.1f} ms, backward {held['backward_ms']:.1f} ms, update "
        f"{held['update_ms']:.1f} ms, together {held['parts_cover']:.1%} of the time{peak}"
    )
    yield (
        f"{held['gflops']:,.1f} GFLOP/s: {held['share_of_gemm']:.0%} of this machine's matrix product "
        f"({held['gemm_gflops']:,.1f}), {held['share_of_conv']:.0%} of the net's largest convolution "
        f"({held['conv_gflops']:,.1f}); memory {held['memory_gb_per_s']:,.2f} GB/s"
    )
    reached = held["roofline_reached"]
    share = "" if reached is None else f"; their sum is {reached:.0%} of the step"
    yield (
        f"bound by {found.bound_by}: at the highest rates measured here arithmetic takes at least "
        f"{held['least_arithmetic_ms']:.2f} ms and memory {held['least_memory_ms']:.2f} ms{share}"
    )


def _energy_and_doubts(found: BenchResult) -> Iterator[str]:
    """The energy where there is one, and what makes numbers doubtful."""
    held = found.values
    if (joules := held.get("gpu_j_per_image")) is not None:
        idle, differ = held["gpu_idle_w"], held["gpu_energy_disagreement"]
        beside = "" if differ is None else f", integrated power gives {differ:+.1%}"
        unused = "" if idle is None else f"; {idle:.0f} W when idle"
        yield f"GPU: {joules:.4f} J per image by the energy counter{beside}{unused}"
    doubts = ("parts", "foreign_process", "throttled")
    yield from (found.notes[name] for name in doubts if name in found.notes)


def _loader(spec: RunSpec, found: BenchResult) -> Iterator[str]:
    yield f"{found.notes['loader_name']} loader ({found.notes['loader_reason']}): {speed_words(found.main)}"


def _pipeline(spec: RunSpec, found: BenchResult) -> Iterator[str]:
    for name, timing in found.timings.items():
        yield f"{name}: {speed_words(timing)}"
    bound_by = "both equally" if found.bound_by == "both" else f"the {found.bound_by}"
    yield (
        f"limited by {bound_by}; without this limit "
        f"{found.values['without_bound_images_per_second']:,.0f} images/s could be expected"
    )


def _roofline(spec: RunSpec, found: BenchResult) -> Iterator[str]:
    from harness.markdown import table_grid
    from harness.report.roofline import roofline_table

    yield f"{spec.variant}, batch {spec.recipe.batch_size}, {spec.recipe.precision}: {speed_words(found.main)}"
    table: Table = roofline_table(found)
    yield table_grid(table)
    yield from table.notes


def speed_words(timing: Timing) -> str:
    """Median and interval of the images per second, and the images per CPU second."""
    return (
        f"{timing.images_per_second:,.0f} images/s (median of {timing.windows} windows, "
        f"{_confidence(timing.coverage)} {timing.low:,.0f} to {timing.high:,.0f}), "
        f"{timing.images_per_cpu_second:,.0f} per CPU second"
    )


def _confidence(coverage: float) -> str:
    """At how many percent an interval is, as it is: with few windows it is below 95 %."""
    return f"{100 * coverage:.0f} % interval"
