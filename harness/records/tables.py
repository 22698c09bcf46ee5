"""Records as pandas tables, for the report and for notebooks. Errors are fractions; a null is NaN or None."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from harness.events import Evaluated, StepsDone
from harness.machine.env import bench_key
from harness.records.record import RunRecord
from harness.serialization import to_plain


def runs_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row a run and protocol, with every number of the summary; a run without result has one, protocol None.

    speed_key: what must be equal before two speeds may be compared (machine.env.bench_key), as one line of text.
    """
    rows = []
    for record in records:
        shared = {**_names(record), **_summary(record), **_machine(record)}
        if not record.summary.results:
            rows.append({**shared, "protocol": None})
        for name, result in record.summary.results.items():
            rows.append({**shared, "protocol": name, **to_plain(result)})
    return pd.DataFrame(rows)


def curves_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """The course of training, one row a window of steps (curve "training") or evaluation (curve = its protocol).

    images_seen, t_s, step, epoch, loss (nats), top1_error, top5_error (NaN in training), lr (NaN in evaluations).
    """
    return pd.DataFrame([row for record in records for row in _curve(record)])


def _curve(record: RunRecord) -> list[dict[str, Any]]:
    rows, images = [], 0
    for stamped in record.timeline():
        event = stamped.event
        if isinstance(event, StepsDone):
            images += event.images
            told = {"curve": "training", "step": event.last_step, "lr": event.lr}
            told |= {"loss": sum(event.losses) / len(event.losses), "top5_error": None}
        elif isinstance(event, Evaluated):
            told = {"curve": event.protocol, "step": event.step, "lr": None}
            told |= {"loss": event.loss, "top5_error": event.top5_error}
        else:
            continue
        told |= {"epoch": event.epoch, "top1_error": event.top1_error, "images_seen": images, "t_s": stamped.t_s}
        rows.append({**_names(record), **told})
    return rows


def telemetry_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row a reading: run, t_s, probe, device, field (with its unit), value; nulls are left out."""
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
        "data": spec.data.name,
        "seed": spec.seed,
    }


def _summary(record: RunRecord) -> dict[str, Any]:
    plain = to_plain(record.summary)
    return {name: plain[name] for name in plain if name not in ("results", "missing", "run_id")}


def _machine(record: RunRecord) -> dict[str, Any]:
    env, spec = record.env, record.spec
    key = bench_key(env, spec, loader=record.summary.loader)
    return {
        "machine_id": env.machine_id,
        "device": spec.device,
        "device_name": key["device"],
        "speed_key": ", ".join(f"{name}={part}" for name, part in key.items() if part is not None),
    }
