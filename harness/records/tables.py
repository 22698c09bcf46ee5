"""Records as pandas tables, for the report and for notebooks.

Errors are fractions; a null is NaN or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from harness.events import Evaluated, StepsDone
from harness.machine.collect_env import bench_key
from harness.records.record import RunRecord
from harness.serialization import to_plain

MAYBE_NULL = (  # columns of numbers, some of which a run may not have
    "final_train_loss", "train_s", "wait_s", "images_per_second", "evaluation_s", "peak_rss_mib", "peak_memory_mib",
    "peak_gpu_mib",
    "gpu_utilisation", "gpu_energy_j", "cpu_utilisation", "top1_error", "top5_error", "loss", "localisation_error",
)  # fmt: skip


def runs_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row per run and protocol, with every number of the summary; a run without result has one,
    protocol None.

    bench_key: what must be equal before two speeds may be compared, as one line of text. missing: the
    reason of each null, by column. Numbers are float64, and NaN where there is none.
    """
    rows = []
    for record in records:
        shared = {**_names(record), **_summary(record), **_machine(record)}
        if not record.summary.results:
            rows.append({**shared, "protocol": None})
        for name, result in record.summary.results.items():
            rows.append({**shared, "protocol": name, **to_plain(result)})
    frame = pd.DataFrame(rows)
    return frame.astype({name: "float64" for name in frame.columns if name in MAYBE_NULL})


def curves_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """The course of training, one row per window of steps (curve "training") or evaluation (curve = its
    protocol).

    images_seen, t_s, step, epoch, loss (log loss), top1_error, top5_error (NaN in training), lr (NaN in
    evaluations).
    """
    return pd.DataFrame([row for record in records for row in _curve(record)])


def _curve(record: RunRecord) -> list[dict[str, Any]]:
    rows, images = [], 0
    for stamped in record.timeline():
        event = stamped.event
        if isinstance(event, StepsDone):
            images += event.images
            row = {"curve": "training", "step": event.last_step, "lr": event.lr}
            row |= {"loss": sum(event.losses) / len(event.losses), "top5_error": None}
        elif isinstance(event, Evaluated):
            curve = event.protocol if event.split == "val" else f"training set, {event.protocol}"
            row = {"curve": curve, "step": event.step, "lr": None}
            row |= {"loss": event.loss, "top5_error": event.top5_error}
        else:
            continue
        row |= {
            "epoch": event.epoch,
            "top1_error": event.top1_error,
            "images_seen": images,
            "t_s": stamped.t_s,
        }
        rows.append({**_names(record), **row})
    return rows


def telemetry_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row per reading: run, t_s, probe, device, field (with its unit), value; nulls are left
    out.
    """
    return pd.DataFrame([row for record in records for row in _readings(record)])


def _readings(record: RunRecord) -> Iterator[dict[str, Any]]:
    for sample in record.telemetry():
        shared = {**_names(record), "t_s": sample.t_s, "probe": sample.probe, "device": sample.device}
        for field, number in sample.values.items():
            if number is not None:
                yield {**shared, "field": field, "value": number}


def _names(record: RunRecord) -> dict[str, Any]:
    spec = record.spec
    return {
        "run_id": record.run_id,
        "variant": spec.variant,
        "geometry": spec.geometry,
        "recipe": spec.recipe.name,
        "overrides": " ".join(spec.overrides),
        "data": spec.data.name,
        "seed": spec.seed,
    }


def _summary(record: RunRecord) -> dict[str, Any]:
    plain = to_plain(record.summary)
    return {name: plain[name] for name in plain if name not in ("results", "run_id")}


def _machine(record: RunRecord) -> dict[str, Any]:
    env, spec = record.env, record.spec
    key = bench_key(env, spec, loader=record.summary.loader)
    return {
        "machine_id": env.machine_id,
        "device": spec.devices,
        "device_name": key["device"],
        "bench_key": key_text(key),
    }


def key_text(key: Mapping[str, Any]) -> str:
    """A bench key (harness.machine.collect_env.bench_key) as one line."""
    parts = sorted(key.items())
    return ", ".join(f"{name.replace('_', ' ')} {part}" for name, part in parts if part is not None)
