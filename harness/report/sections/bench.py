"""The section on measured speeds: what limits training here, other software on the same machine, the
roofline of the layers, and what 90 epochs of ImageNet would cost. Without records of speeds it is left
out.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.machine.collect_env import bench_key
from harness.records.bench import BenchRecord, Kind, Timing
from harness.records.tables import key_text
from harness.report.data import ReportData
from harness.report.image_sets import IMAGE_SETS
from harness.report.model import Block, Figure, Paragraph, Section
from harness.report.roofline import roofline_plot, roofline_table
from harness.report.text import NONE, count, number, percent, short
from harness.tables import Column, Table

TITLE = "What limits the speed here"
EPOCHS = 90  # of the paper
ILSVRC = "ILSVRC-2012 val"
IMAGES = IMAGE_SETS[ILSVRC].train_images
FULL_SIZE = 200  # pixels; smaller images say nothing of the speed on ImageNet
UNSTEADY = "The warm-up of these ended without a steady state, so they are doubtful"
STEADY = "every one began after a warm-up that ended once the speeds had no trend"


def section(report: ReportData) -> Section:
    """Tables and plots of the newest records of speeds."""
    benches = report.benches
    if not benches:
        return Section(title=TITLE, blocks=())
    blocks: list[Block] = [
        *_pipelines(_of(benches, "pipeline")),
        *_steps(_of(benches, "step")),
        *_peers([*_of(benches, "loader"), *_of(benches, "step")]),
        *_rooflines(_of(benches, "roofline")),
        *_projection([*_of(benches, "pipeline"), *_of(benches, "step")]),
        *_records(benches),
    ]
    return Section(title=TITLE, blocks=tuple(blocks))


def _of(benches: Sequence[BenchRecord], kind: Kind) -> list[BenchRecord]:
    return [bench for bench in benches if bench.result.kind == kind]


def _named(bench: BenchRecord) -> str:
    """What was measured, in short."""
    spec = bench.spec
    changed = f" with {', '.join(spec.overrides)}" if spec.overrides else ""
    return f"{spec.variant}, recipe {spec.recipe.name}{changed}, {spec.data.name}"


def _speed(timing: Timing) -> str:
    return f"{number(timing.images_per_second)} ({number(timing.low)} to {number(timing.high)})"


def _intervals(benches: Sequence[BenchRecord]) -> str:
    """What the intervals of a table are."""
    windows = sorted({bench.result.main.windows for bench in benches})
    coverage = min(bench.result.main.coverage for bench in benches)
    return (
        f"Medians of {' or '.join(map(str, windows))} windows, measured in turn. In brackets: interval of "
        f"the median from order statistics, which holds it in {100 * coverage:.0f} % of cases or more."
    )


def _pipelines(benches: Sequence[BenchRecord]) -> tuple[Block, ...]:
    if not benches:
        return ()
    rows = [
        (
            _named(bench),
            *(_speed(bench.result.timings[name]) for name in ("loader", "step", "both")),
            bench.result.bound_by or NONE,
            number(bench.result.values.get("without_bound_images_per_second")),
        )
        for bench in benches
    ]
    columns = (
        Column(heading="Measured", share=1),
        Column(heading="Loader alone", align="right"),
        Column(heading="Step alone", align="right"),
        Column(heading="Both", align="right"),
        Column(heading="Limited by"),
        Column(heading="Without it", align="right"),
    )
    caption = "Images/s of loader and training step, alone and together, and without what limits them."
    return (Table(caption=caption, columns=columns, rows=tuple(rows), notes=(_intervals(benches),)),)


def _steps(benches: Sequence[BenchRecord]) -> tuple[Block, ...]:
    if not benches:
        return ()
    columns = (
        Column(heading="Step", share=1),
        Column(heading="Images/s", align="right"),
        Column(heading="Forward, ms", align="right"),
        Column(heading="Backward, ms", align="right"),
        Column(heading="Update, ms", align="right"),
        Column(heading="Of GEMM, %", align="right"),
        Column(heading="Of conv, %", align="right"),
        Column(heading="MiB", align="right"),
        Column(heading="J/image", align="right"),
    )
    rows = [
        (
            _named(bench),
            _speed(bench.result.main),
            *(number(held.get(f"{part}_ms"), 1) for part in ("forward", "backward", "update")),
            percent(held.get("share_of_gemm"), 0),
            percent(held.get("share_of_conv"), 0),
            number(held.get("peak_memory_mib")),
            number(held.get("gpu_j_per_image"), 4),
        )
        for bench in benches
        for held in [bench.result.values]
    ]
    notes = (
        _intervals(benches),
        "Of GEMM, of conv: FLOP/s of the step beside those of a square matrix product and of the net's "
        "largest convolution in the same run. MiB: the most memory needed, by torch's tensors on a "
        "GPU, else by the whole process. J/image: of the GPU.",
        *_doubts(benches),
    )
    table = Table(caption="The training step alone.", columns=columns, rows=tuple(rows), notes=notes)
    return (table.without_empty(NONE),)


def _doubts(benches: Sequence[BenchRecord]) -> tuple[str, ...]:
    """What makes numbers of a GPU doubtful."""
    return tuple(
        f"{_named(bench)}: {bench.result.notes[flag]}."
        for bench in benches
        for flag in ("foreign_process", "throttled")
        if flag in bench.result.notes
    )


def _peers(benches: Sequence[BenchRecord]) -> tuple[Block, ...]:
    rows = [
        (
            f"{bench.result.kind} of {_named(bench)}",
            name,
            number(bench.result.main.images_per_cpu_second),
            number(bench.result.timings[name].images_per_cpu_second),
            number(ratio.per_cpu_second, 2),
            f"{number(ratio.per_second, 2)} ({number(ratio.low, 2)} to {number(ratio.high, 2)})",
        )
        for bench in benches
        for name, ratio in bench.result.ratios.items()
    ]
    if not rows:
        return ()
    columns = (
        Column(heading="Measured", share=2),
        Column(heading="Compared with", share=1),
        Column(heading="Images per CPU s", align="right"),
        Column(heading="Its", align="right"),
        Column(heading="Ratio", align="right"),
        Column(heading="Ratio per second", align="right"),
    )
    reasons = [
        f"{name}: {reason}"
        for bench in benches
        for name, reason in bench.result.missing.items()
        if name not in bench.result.values
    ]
    notes = (f"Not measured: {'; '.join(dict.fromkeys(reasons))}.",) if reasons else ()
    caption = "Beside other software, and other settings, in the same run and in turn."
    return (Table(caption=caption, columns=columns, rows=tuple(rows), notes=notes),)


def _rooflines(benches: Sequence[BenchRecord]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for place, bench in enumerate(benches, 1):
        batch = f"{_named(bench)}, batch {bench.spec.recipe.batch_size}, {bench.spec.recipe.precision}"
        blocks += [
            Paragraph(text=f"The layers of {batch}.", lead=True),
            roofline_table(bench.result),
            Figure(
                file=f"roofline-{place}.svg",
                caption=f"The roofline of {batch}. Left: FLOP/s over FLOP per byte, below what "
                "arithmetic and copying allow on this machine. Right: the time of each layer, and the "
                "part of it that its bound explains.",
                alt="Speed of each layer beside its bound.",
                content=roofline_plot(bench.result),
            ),
        ]
    return tuple(blocks)


def _projection(benches: Sequence[BenchRecord]) -> tuple[Block, ...]:
    """What the paper's training would take at the speeds measured at full size."""
    full = [bench for bench in benches if bench.spec.net.input_size >= FULL_SIZE]
    if not full:
        text = (
            f"What {EPOCHS} epochs of ImageNet would cost here can't be projected: no speed was measured "
            "with images of full size. Measure it with: python -m harness bench step --recipe paper --save"
        )
        return (Paragraph(text=text),)
    columns = (
        Column(heading="Measured", share=1),
        Column(heading="Images/s", align="right"),
        Column(heading="Hours", align="right"),
        Column(heading="kWh (GPU)", align="right"),
    )
    notes = [
        "A projection, not a measurement: training steps alone, without evaluation, checkpoints or "
        "pauses, at the speed of some seconds. `step` leaves the loader out. The energy is the GPU's, "
        "not the whole machine's."
    ]
    return (
        Table(
            caption=f"Projection: {EPOCHS} epochs of ImageNet's {number(IMAGES)} training images here.",
            columns=columns,
            rows=tuple(map(_cost, full)),
            notes=(*notes, *map(_arithmetic, full)),
        ),
    )


def _cost(bench: BenchRecord) -> tuple[str, ...]:
    timing, joules = bench.result.main, bench.result.values.get("gpu_j_per_image")
    hours, short_h, long_h = (
        _hours(speed) for speed in (timing.images_per_second, timing.high, timing.low)
    )
    return (
        f"{bench.result.kind} of {_named(bench)}",
        _speed(timing),
        f"{number(hours, 1)} ({number(short_h, 1)} to {number(long_h, 1)})",
        NONE if joules is None else number(_kwh(joules), 2),
    )


def _hours(images_per_second: float) -> float:
    return EPOCHS * IMAGES / images_per_second / 3600


def _kwh(joules_per_image: float) -> float:
    return EPOCHS * IMAGES * joules_per_image / 3.6e6


def _arithmetic(bench: BenchRecord) -> str:
    """The projection as it is computed, or why there is no energy."""
    speed, held = bench.result.main.images_per_second, bench.result.values
    said = (
        f"{bench.result.kind} of {_named(bench)}: {EPOCHS} x {number(IMAGES)} images / "
        f"{number(speed, 1)} images/s / 3,600 s = {number(_hours(speed), 1)} h; "
    )
    if (classes := bench.spec.net.classes) != IMAGE_SETS[ILSVRC].classes:
        said += f"measured with {classes} classes, so with a smaller last layer; "
    joules = held.get("gpu_j_per_image")
    if joules is None:
        why = bench.result.missing.get("gpu_j_per_image", "no power was measured")
        return f"{said}no energy: {why}."
    return (
        f"{said}{EPOCHS} x {number(IMAGES)} images x {number(joules, 4)} J / 3,600,000 J = "
        f"{number(_kwh(joules), 2)} kWh."
    )


def _records(benches: Sequence[BenchRecord]) -> tuple[Block, ...]:
    unsteady = [bench.path.name for bench in benches if not bench.result.steady]
    state = f"{UNSTEADY}: {', '.join(unsteady)}." if unsteady else f"Of these, {STEADY}."
    keys = {
        key_text(bench_key(bench.env, bench.spec, loader=bench.result.notes.get("loader_name")))
        for bench in benches
    }
    return (
        Table(
            caption=f"{count(len(benches), 'record')} of speeds, under results/bench.",
            columns=(
                Column(heading="Record", share=1),
                Column(heading="Warm-up windows", align="right"),
                Column(heading="Checksum"),
            ),
            rows=tuple(
                (bench.path.name, str(bench.result.warm_up_windows), short(bench.checksum))
                for bench in benches
            ),
            notes=(state, *(f"Bench key: {key}." for key in sorted(keys))),
        ),
    )
