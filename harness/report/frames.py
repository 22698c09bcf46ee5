"""The data frames of a report: runs, speeds and comparisons. Every statistic is computed here, once.

Errors, their differences and all intervals are fractions (0.25 is 25 %). A missing number is NaN, a
missing text is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from typing import Any

import pandas as pd

from harness.published.comparisons import compared_with
from harness.records.tables import runs_table
from harness.report.claims import Claim, Judgement, claims_of, evaluated_under, judge_in
from harness.report.evidence import Evidence
from harness.report.setting import METRICS, AnyMetric, Metric, Setting
from harness.report.stats import Estimate, Interval, dunnett, finite_test_set
from variants.catalog import Variant

COLUMNS = (
    "setting", "data", "geometry", "recipe", "epochs", "device", "variant", "versus", "metric", "protocol",
    "main_protocol", "n", "mean", "sd", "seeds_low", "seeds_high", "lowest", "highest", "images_low", "images_high",
    "at_chance", "dunnett_p", "published", "bound", "published_on", "source", "verdict", "direction", "size_differs",
    "obstacles", "seeds_to_detect", "seeds_to_confirm",
)  # fmt: skip
ERROR_METRICS: tuple[AnyMetric, ...] = (*METRICS, "localisation_error")


def runs_frame(evidence: Evidence) -> pd.DataFrame:
    """One row per run of this machine and protocol: runs_table(), the number of the setting (0: set
    aside), the reason, and the GPU's J/image after the warm-up.

    Runs are in the order of their settings and, within one, of variants and seeds; those set aside come
    last.
    """
    setting = {
        record.run_id: number for number, one in enumerate(evidence.settings, 1) for record in one.records()
    }  # fmt: skip
    reasons = {item.record.run_id: item.reason for item in evidence.set_aside}
    counted = [record for one in evidence.settings for record in one.records()]
    frame = runs_table([*counted, *(item.record for item in evidence.set_aside)])
    if frame.empty:
        return frame
    numbers = frame["run_id"].map(setting).fillna(0).astype(int)
    steady = {
        record.run_id: record.probes().get("gpu_j_per_image")
        for record in counted
        if record.summary.gpu_energy_j is not None
    }
    return frame.assign(
        setting=numbers,
        set_aside=frame["run_id"].map(reasons),
        steady_j_per_image=frame["run_id"].map(steady).astype(float),
    )


def speeds_frame(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, bench key and variant: number of runs, and median, lowest and highest speed.

    Only runs of one bench key may be compared in speed; the key with the most runs comes first in its
    setting.
    """
    if runs.empty:
        return pd.DataFrame(columns=["setting", "bench_key", "variant"])
    timed = runs.drop_duplicates("run_id")
    timed = timed[(timed["setting"] > 0) & timed["images_per_second"].notna()]
    timed = timed.assign(
        wait_fraction=timed["wait_s"] / timed["train_s"].where(timed["train_s"] > 0),
        # older records have only the energy of all training, the warm-up included
        gpu_j_per_image=timed["steady_j_per_image"].fillna(
            timed["gpu_energy_j"] / timed["images_seen"].where(timed["images_seen"] > 0)
        ),
        memory_mib=timed["peak_gpu_mib"].fillna(timed["peak_memory_mib"]).fillna(timed["peak_rss_mib"]),
    )
    grouped = timed.groupby(["setting", "bench_key", "variant"], sort=False)
    made = grouped.agg(
        runs=("run_id", "size"),
        images_per_second=("images_per_second", "median"),
        lowest=("images_per_second", "min"),
        highest=("images_per_second", "max"),
        wait_fraction=("wait_fraction", "median"),
        cpu_utilisation=("cpu_utilisation", "median"),
        gpu_utilisation=("gpu_utilisation", "median"),
        gpu_j_per_image=("gpu_j_per_image", "median"),
        memory_mib=("memory_mib", "median"),
    ).reset_index()
    of_key = made.groupby(["setting", "bench_key"])["runs"].transform("sum")
    made = made.assign(order=-of_key).sort_values(["setting", "order", "bench_key"], kind="stable")
    return made.drop(columns="order").reset_index(drop=True)


def comparisons_frame(
    settings: tuple[Setting, ...], catalog: Mapping[str, Variant], epochs: Mapping[str, float]
) -> pd.DataFrame:
    """One row per setting, variant, versus, metric and protocol. results/README.md explains the
    columns.

    epochs: length of each variant's own recipe.
    """
    rows = [
        row
        for number, setting in enumerate(settings, 1)
        for row in _rows(number, setting, catalog, epochs)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """The rows as named tuples."""
    return list(frame.itertuples(index=False))


def estimate_of(row: Any) -> Estimate:
    """Mean, sd and interval over seeds of a row of comparisons_frame()."""
    sd = None if pd.isna(row.sd) else float(row.sd)
    return Estimate(
        mean=float(row.mean), n=int(row.n), sd=sd, interval=_interval(row.seeds_low, row.seeds_high)
    )


def images_of(row: Any) -> Interval | None:
    """The interval over images of a row of comparisons_frame()."""
    return _interval(row.images_low, row.images_high)


def _interval(low: float, high: float) -> Interval | None:
    return None if pd.isna(low) else Interval(low=float(low), high=float(high))


def _rows(
    number: int, setting: Setting, catalog: Mapping[str, Variant], epochs: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    key = setting.key
    names = {
        "setting": number, "data": key.data.name, "geometry": key.geometry, "recipe": key.recipe,
        "epochs": key.epochs, "device": key.device,
    }  # fmt: skip
    for protocol in setting.protocols:
        for variant in setting.runs:
            for metric in ERROR_METRICS:
                if errors := setting.errors(variant, protocol, metric):
                    yield {**names, **_error(setting, variant, metric, protocol, errors)}
    p_values = _dunnett(setting)
    for variant, versus in pairs(setting, catalog):
        claims = _claims(catalog.get(variant))
        for metric in METRICS:
            claim = claims.get((versus, metric))
            main = evaluated_under(claim, setting) if claim else setting.main_protocol
            for protocol in setting.protocols:
                tested_claim = claim if claim and protocol == main else None
                row = _difference(
                    setting, variant, versus, metric, protocol, tested_claim, epochs.get(variant)
                )
                if row:
                    tested = (versus, metric, protocol) == (
                        setting.base,
                        "top1_error",
                        setting.main_protocol,
                    )
                    p_value = p_values.get(variant, nan) if tested else nan
                    yield {**names, **row, "main_protocol": protocol == main, "dunnett_p": p_value}


def pairs(setting: Setting, catalog: Mapping[str, Variant]) -> Iterator[tuple[str, str]]:
    """(variant, versus): every variant and the base, then pairs with a published difference to
    another variant.
    """
    for name in setting.runs:
        if name != setting.base:
            yield name, setting.base
    for name in setting.runs:
        versus = compared_with(catalog[name]) if name in catalog else None
        if versus is not None and versus not in (setting.base, name) and versus in setting.runs:
            yield name, versus


def _claims(row: Variant | None) -> dict[tuple[str | None, Metric], Claim]:
    """The first published difference of each pair and metric."""
    found: dict[tuple[str | None, Metric], Claim] = {}
    for claim in claims_of(row) if row else ():
        found.setdefault((claim.versus, claim.metric), claim)
    return found


def _error(
    setting: Setting, variant: str, metric: AnyMetric, protocol: str, errors: Mapping[int, float]
) -> dict[str, Any]:
    """A variant's error. Its interval over images is Wilson's, for the network of the lowest seed."""
    estimate, first = setting.error(variant, protocol, metric), min(errors)
    assert estimate is not None
    images = setting.runs[variant][first].summary.results[protocol].images
    return {
        "variant": variant,
        "versus": None,
        "metric": metric,
        "protocol": protocol,
        "main_protocol": protocol == setting.main_protocol,
        **_estimate(estimate, finite_test_set(errors[first], images)),
        "lowest": min(errors.values()),
        "highest": max(errors.values()),
        "at_chance": setting.at_chance(variant, protocol),
    }


def _difference(
    setting: Setting,
    variant: str,
    versus: str,
    metric: Metric,
    protocol: str,
    claim: Claim | None,
    native_epochs: float | None,
) -> dict[str, Any] | None:
    """The difference paired by seed, and the verdict on `claim`; None if the two have no common
    seed.
    """
    compared = setting.compare(variant, versus, protocol, metric)
    if compared is None:
        return None
    row = {"variant": variant, "versus": versus, "metric": metric, "protocol": protocol}
    verdict = _verdict(judge_in(claim, setting, native_epochs)) if claim else {}
    chance = any(setting.at_chance(name, protocol) for name in (variant, versus))
    return {**row, **_estimate(compared.difference, compared.images), "at_chance": chance, **verdict}


def _estimate(estimate: Estimate, images: Interval | None) -> dict[str, Any]:
    seeds = estimate.interval
    return {
        "n": estimate.n,
        "mean": estimate.mean,
        "sd": nan if estimate.sd is None else estimate.sd,
        "seeds_low": seeds.low if seeds else nan,
        "seeds_high": seeds.high if seeds else nan,
        "images_low": images.low if images else nan,
        "images_high": images.high if images else nan,
    }


def _verdict(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    return {
        "published": claim.effect,
        "bound": claim.relation,
        "published_on": claim.data,
        "source": claim.source,
        "verdict": judgement.verdict,
        "direction": judgement.direction,
        "size_differs": judgement.size_differs,
        "obstacles": judgement.obstacles,
        "seeds_to_detect": nan if judgement.to_detect is None else judgement.to_detect,
        "seeds_to_confirm": nan if judgement.to_confirm is None else judgement.to_confirm,
    }


def _dunnett(setting: Setting) -> dict[str, float]:
    """Dunnett's p of each variant against the base, in top-1 error under the first protocol.

    Empty if fewer than two variants have two seeds, or if the base is no better than chance.
    """
    protocol, base = setting.main_protocol, setting.base
    by_seed = {
        name: list(setting.errors(name, protocol, "top1_error").values()) for name in setting.runs
    }
    tested = [name for name, errors in by_seed.items() if len(errors) > 1]
    others = [name for name in tested if name != base]
    if base not in tested or not others or setting.at_chance(base, protocol):
        return {}
    return dict(zip(others, dunnett([by_seed[name] for name in others], by_seed[base]), strict=True))
