"""The section on training speed: speeds per bench key, what limited them, utilisation, and published
speeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.probes.summary import doubts
from harness.published.schema import Speed
from harness.records.tables import telemetry_table
from harness.report import figures
from harness.report.data import ReportData, in_setting
from harness.report.frames import rows_of
from harness.report.model import Block, Figure, Section
from harness.report.setting import Setting
from harness.report.text import NONE, number, percent
from harness.tables import Column, Table

GPU_FIELD, CPU_FIELD = "kernel_running_fraction", "cpu_utilisation"  # of telemetry
MOST_TRACES = 10  # variants: more lines can't be distinguished
LOADER_LIMITS, LOADER_IS_FAST = 0.5, 0.1  # waiting for data, as a fraction of training time


def section(report: ReportData) -> Section:
    """A table per bench key, the plots of each setting, and published speeds."""
    settings, blocks = report.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        speeds = report.speeds[report.speeds["setting"] == place]
        timed = _timed(report.runs, place)
        doubtful = _doubts(setting)
        tables = [
            _table(str(key), rows, timed[timed["bench_key"] == key], doubtful)
            for key, rows in speeds.groupby("bench_key", sort=False)
        ]
        plots = (*_throughput_plot(speeds, timed, place), *_utilisation_plot(setting, place))
        blocks += in_setting(settings, place, [*tables, *plots])
    return Section(title="Speed", blocks=(*blocks, *_history(report.history)))


def _timed(runs: pd.DataFrame, place: int) -> pd.DataFrame:
    """One row per run of the setting that has a speed."""
    chosen = (runs["setting"] == place) & runs["images_per_second"].notna()
    return runs[chosen].drop_duplicates("run_id")


def _doubts(setting: Setting) -> dict[str, tuple[str, ...]]:
    """What makes the numbers of runs on a GPU doubtful, by run."""
    on_gpu = [record for record in setting.records() if record.spec.device == "cuda"]
    return {record.run_id: tuple(doubts(record.probes()).values()) for record in on_gpu}


def _table(
    key: str, speeds: pd.DataFrame, runs: pd.DataFrame, doubtful: Mapping[str, tuple[str, ...]]
) -> Table:
    said = [
        f"{run_id}: {'; '.join(doubtful[run_id])}." for run_id in runs["run_id"] if doubtful.get(run_id)
    ]
    return Table(
        caption="Training speed of runs with one bench key; these may be compared with each other.",
        columns=(
            Column(heading="Variant"),
            Column(heading="Runs", align="right"),
            Column(heading="Images/s, median", align="right"),
            Column(heading="Lowest to highest", align="right"),
            Column(heading="Waiting for data, %", align="right"),
            Column(heading="Limited by"),
            Column(heading="CPU cores", align="right"),
            Column(heading="GPU kernel running, %", align="right"),
            Column(heading="J/image (GPU)", align="right"),
            Column(heading="Memory, MiB", align="right"),
        ),
        rows=tuple(_row(row) for row in rows_of(speeds)),
        notes=(f"Bench key: {key}.", *_why_missing(runs), *said),
    ).without_empty(NONE)


def _row(row: Any) -> tuple[str, ...]:
    wait = _known(row.wait_fraction)
    return (
        row.variant,
        str(row.runs),
        number(row.images_per_second, 1),
        f"{number(row.lowest, 1)} to {number(row.highest, 1)}",
        percent(wait, 1),
        NONE if wait is None else limited_by(wait),
        number(_known(row.cpu_utilisation), 2),
        percent(_known(row.gpu_utilisation), 1),
        number(_known(row.gpu_j_per_image), 2),
        number(_known(row.memory_mib)),
    )


def limited_by(wait_fraction: float) -> str:
    """What limits the speed, from the fraction of training time spent waiting for the loader."""
    if wait_fraction > LOADER_LIMITS:
        return "the loader"
    return "computing" if wait_fraction < LOADER_IS_FAST else "both"


def _known(held: float) -> float | None:
    return None if pd.isna(held) else float(held)


def _why_missing(runs: pd.DataFrame) -> tuple[str, ...]:
    """The reasons for empty columns, from the records."""
    fields = {
        "gpu_utilisation": "GPU kernel running",
        "gpu_energy_j": "J/image",
        "cpu_utilisation": "CPU cores",
    }
    reasons = [
        f"{label}: {missing[field]}"
        for field, label in fields.items()
        for missing in runs["missing"]
        if field in missing
    ]
    return (f"Not measured: {'; '.join(dict.fromkeys(reasons))}.",) if reasons else ()


def _throughput_plot(speeds: pd.DataFrame, timed: pd.DataFrame, place: int) -> tuple[Figure, ...]:
    """The plot for the most frequent bench key; runs with other keys can't be compared with these."""
    if speeds.empty:
        return ()
    alike = timed[timed["bench_key"] == speeds["bench_key"].iloc[0]]
    return (
        Figure(
            file=f"throughput-{place}.svg",
            caption="Images trained on per second: the bar is the median, each dot a run. Runs of one "
            "bench key.",
            alt="Training speed of each variant in images per second.",
            content=figures.throughput(alike[["variant", "images_per_second"]]),
        ),
    )


def _utilisation_plot(setting: Setting, place: int) -> tuple[Figure, ...]:
    """The plot of GPU (or else CPU) utilisation, for the lowest seed of each variant."""
    readings = telemetry_table(
        next(iter(setting.runs[name].values())) for name in setting.first(MOST_TRACES)
    )
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
            caption=f"{what}, from start to end of a variant's run with the lowest seed, {MOST_TRACES} "
            "variants at most.",
            alt="Utilisation over the time of the run, a line per variant.",
            content=figures.utilisation(shown.assign(percent=100 * shown["value"]), what),
        ),
    )


def _history(speeds: Sequence[Speed]) -> tuple[Block, ...]:
    if not speeds:
        return ()
    return (
        Table(
            caption="Published speeds. Different things were timed, so only orders of magnitude can be "
            "compared.",
            columns=(
                Column(heading="Year"),
                Column(heading="Machine"),
                Column(heading="Net", share=1),
                Column(heading="Images/s", align="right"),
                Column(heading="What was timed", share=1),
            ),
            rows=tuple(
                (str(row.year), row.machine, f"{row.net} ({row.software})", _rate(row), row.timed)
                for row in speeds
            ),
        ),
    )


def _rate(speed: Speed) -> str:
    low = number(speed.throughput.images_per_second)
    return low if speed.high is None else f"{low} to {number(speed.high.images_per_second)}"
