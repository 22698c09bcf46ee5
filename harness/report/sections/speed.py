"""How fast it ran and what held it up: speeds within one bench key, utilisation over time, and what others had."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median
from typing import Any

import pandas as pd

from harness.machine.env import bench_key
from harness.published.schema import Speed
from harness.records.store import RunRecord
from harness.records.tables import telemetry_table
from harness.report import figures
from harness.report.evidence import Setting
from harness.report.material import Material, in_setting
from harness.report.model import Block, Figure, Section
from harness.report.text import NONE, number, percent
from harness.tables import Column, Table

GPU_FIELD, CPU_FIELD = "kernel_running_fraction", "cpu_utilisation"  # of telemetry
MOST_TRACES = 10  # variants: more lines can't be told apart
WAITS_MUCH, WAITS_LITTLE = 0.5, 0.1  # of training time


def section(given: Material) -> Section:
    """A table a bench key, the plots of each setting, and the history strip."""
    settings, blocks = given.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        timed = [record for record in setting.records() if record.summary.images_per_second is not None]
        shown: list[Block] = [_table(key, records) for key, records in _by_key(timed).items()]
        blocks += in_setting(
            settings, place, [*shown, *_throughput_plot(timed, place), *_utilisation_plot(setting, place)]
        )
    return Section(title="Speed", blocks=(*blocks, *_history(given.history)))


def key_of(record: RunRecord) -> dict[str, Any]:
    """What must be equal for two speeds to be compared, runs at once on the machine included."""
    key = bench_key(record.env, record.spec, loader=record.summary.loader)
    return key | {"runs_at_once": (record.env.get("placement") or {}).get("concurrent")}


def _by_key(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(json.dumps(key_of(record), sort_keys=True), []).append(record)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))


def _table(key: str, records: Sequence[RunRecord]) -> Table:
    told = ", ".join(f"{name.replace('_', ' ')} {held}" for name, held in json.loads(key).items() if held is not None)
    by_variant: dict[str, list[RunRecord]] = {}
    for record in records:
        by_variant.setdefault(record.spec.variant, []).append(record)
    return Table(
        caption="Training speed. Comparable with each other, as one bench key holds for all.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Runs", align="right"),
            Column(heading="Images/s, median", align="right"),
            Column(heading="Lowest to highest", align="right"),
            Column(heading="Waiting for data, %", align="right"),
            Column(heading="Held up by"),
            Column(heading="CPU cores", align="right"),
            Column(heading="GPU kernel running, %", align="right"),
            Column(heading="J/image (GPU)", align="right"),
            Column(heading="Memory, MiB", align="right"),
        ),
        rows=tuple(_row(name, runs) for name, runs in by_variant.items()),
        notes=(f"Bench key: {told}.", *_why_missing(records)),
    ).without_empty(NONE)


def _row(variant: str, runs: Sequence[RunRecord]) -> tuple[str, ...]:
    summaries = [run.summary for run in runs]
    speeds = [s.images_per_second for s in summaries if s.images_per_second is not None]
    waits = [s.wait_s / s.train_s for s in summaries if s.wait_s is not None and s.train_s]
    joules = [s.gpu_energy_j / s.images_seen for s in summaries if s.gpu_energy_j is not None and s.images_seen]
    wait = _median(waits)
    return (
        variant,
        str(len(runs)),
        number(median(speeds), 1),
        f"{number(min(speeds), 1)} to {number(max(speeds), 1)}",
        percent(wait, 1),
        NONE if wait is None else held_up_by(wait),
        number(_median([s.cpu_utilisation for s in summaries]), 2),
        percent(_median([s.gpu_utilisation for s in summaries]), 1),
        number(_median(joules), 2),
        number(_median([s.peak_gpu_mib or s.peak_rss_mib for s in summaries])),
    )


def held_up_by(wait: float) -> str:
    """What bounds training, from the share of its time spent waiting for the loader."""
    if wait > WAITS_MUCH:
        return "the loader"
    return "computing" if wait < WAITS_LITTLE else "both"


def _median(values: Sequence[float | None]) -> float | None:
    known = [held for held in values if held is not None]
    return median(known) if known else None


def _why_missing(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Why a column is empty, as the records tell it."""
    fields = {"gpu_utilisation": "GPU kernel running", "gpu_energy_j": "J/image", "cpu_utilisation": "CPU cores"}
    reasons = {
        f"{label}: {record.summary.missing[field]}": None
        for field, label in fields.items()
        for record in records
        if field in record.summary.missing
    }
    return (f"Not measured: {'; '.join(reasons)}.",) if reasons else ()


def _throughput_plot(records: Sequence[RunRecord], place: int) -> tuple[Figure, ...]:
    """Of the runs that share the commonest key: other speeds don't belong beside them."""
    groups = _by_key(records)
    if not groups:
        return ()
    alike = next(iter(groups.values()))
    rows = [(record.spec.variant, record.summary.images_per_second) for record in alike]
    return (
        Figure(
            file=f"throughput-{place}.svg",
            caption="Images trained on per second: the bar is the median, each dot a run. Runs of one bench key.",
            alt="Training speed of each variant in images per second.",
            content=figures.throughput(pd.DataFrame(rows, columns=["variant", "images_per_second"])),
        ),
    )


def _utilisation_plot(setting: Setting, place: int) -> tuple[Figure, ...]:
    """The GPU where there is one, else the CPU; the lowest seed of each variant."""
    readings = telemetry_table(next(iter(setting.arms[name].values())) for name in setting.first(MOST_TRACES))
    if readings.empty:
        return ()
    on_gpu = bool((readings["field"] == GPU_FIELD).any())
    shown = readings[readings["field"] == (GPU_FIELD if on_gpu else CPU_FIELD)]
    if shown.empty:
        return ()
    what = "GPU kernel running (% of time)" if on_gpu else "CPU (% of one core)"
    return (
        Figure(
            file=f"utilisation-{place}.svg",
            caption=f"{what}, from start to end of a variant's run with the lowest seed, {MOST_TRACES} variants at "
            "most.",
            alt="Utilisation over the time of the run, a line a variant.",
            content=figures.utilisation(shown.assign(percent=100 * shown["value"]), what),
        ),
    )


def _history(speeds: Sequence[Speed]) -> tuple[Block, ...]:
    if not speeds:
        return ()
    return (
        Table(
            caption="What others had, for scale. These speeds timed different things: an order of magnitude, not a "
            "race.",
            columns=(
                Column(heading="Year"),
                Column(heading="Machine"),
                Column(heading="Net", share=1),
                Column(heading="Images/s", align="right"),
                Column(heading="What was timed", share=1),
            ),
            rows=tuple(
                (str(row.year), row.machine, f"{row.net} ({row.software})", _rate(row), row.timed) for row in speeds
            ),
        ),
    )


def _rate(speed: Speed) -> str:
    low = number(speed.throughput.images_per_second)
    return low if speed.high is None else f"{low} to {number(speed.high.images_per_second)}"
