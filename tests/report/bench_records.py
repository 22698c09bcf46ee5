"""Sealed records of speeds for the report: round numbers, so that what follows from them can be worked out by head."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study_records import ENV, Study

from harness.placement import Placement
from harness.records.bench import (
    BenchRecord,
    BenchResult,
    Kind,
    LayerTime,
    Ratio,
    Timing,
    load_bench,
    seal_bench,
)
from harness.spec import RunSpec
from variants.catalog import CATALOG
from variants.geometry import spec_for

WHEN = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)
NO_POWER = "the run computes on the CPU"


def timing(speed: float) -> Timing:
    return Timing(
        windows=9, images_per_second=speed, low=0.9 * speed, high=1.25 * speed, coverage=0.961,
        lowest=0.8 * speed, highest=1.3 * speed, images_per_cpu_second=2 * speed,
    )  # fmt: skip


LAYERS = (
    LayerTime(
        name="conv1", kind="conv", macs=5 * 10**9, bytes=10**9, set_bytes=10**8, ms=100.0, least_ms=80.0,
        bound="arithmetic",
    ),
    LayerTime(
        name="relu1", kind="activation", macs=0, bytes=10**9, set_bytes=10**8, ms=20.0, least_ms=10.0,
        bound="memory",
    ),
)  # fmt: skip
RATIO = Ratio(per_second=3.0, low=2.5, high=3.5, coverage=0.961, per_cpu_second=7.125)
STEP = {
    "forward_ms": 20.0, "backward_ms": 35.0, "update_ms": 2.5, "share_of_gemm": 0.5, "share_of_conv": 0.25,
    "peak_memory_mib": 1024.0, "gpu_j_per_image": None,
}  # fmt: skip


def result(kind: Kind, **changes: Any) -> BenchResult:
    """One of each kind. changes: of its fields."""
    names = {"step": ("step", "torch_eager"), "loader": ("loader", "torchvision_pil")}.get(
        kind, ("both", "loader", "step") if kind == "pipeline" else ("layers",)
    )
    values: dict[str, float | None] = {
        "step": STEP,
        "loader": {},
        "pipeline": {"without_bound_images_per_second": 2000.0, "gpu_j_per_image": None},
        "roofline": {
            "gemm_gflops": 100.0, "conv_gflops": 125.0, "copy_1_mib_gb_per_s": 80.0, "copy_512_mib_gb_per_s": 20.0
        },
    }[kind]  # fmt: skip
    made = BenchResult(
        kind=kind,
        bench_id="",
        measured_utc="",
        warm_up_windows=6,
        steady=True,
        timings={name: timing(1000.0 * place) for place, name in enumerate(names, 1)},
        ratios={names[1]: RATIO} if kind in ("step", "loader") else {},
        bound_by={"pipeline": "step", "step": "arithmetic"}.get(kind),
        values=values,
        layers=LAYERS if kind == "roofline" else (),
        notes={"loader_name": "ffcv", "loader_reason": "it works"} if kind != "step" else {},
        missing={"gpu_j_per_image": NO_POWER} if "gpu_j_per_image" in values else {},
    )
    return replace(made, **changes)


def sealed(root: Path, kind: Kind, spec: RunSpec | None = None, **changes: Any) -> BenchRecord:
    env = replace(ENV, placement=Placement())
    net = spec_for(CATALOG["grouped_2gpu"], "mini", 10)
    spec = spec or Study(root).spec("grouped_2gpu", 0, net=net)
    return load_bench(seal_bench(root, spec, env, result(kind, **changes), WHEN))
