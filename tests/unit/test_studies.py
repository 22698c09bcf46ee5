"""Studies: what is missing on this machine, and what still fits into the time given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.cli.reproduce import _listed
from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.manifest import StoreSettings
from harness.errors import UsageError
from harness.machine.collect_env import describe, machine_id
from harness.placement import Placement
from harness.records.schema import ProtocolResult, Summary
from harness.records.store import Store
from harness.resolve import RunRequest
from harness.spec import DataSpec, RunSpec
from harness.studies.rows import STUDIES, study_named
from harness.studies.runs import Budget, counted, plan, records_of
from harness.studies.workers import Ended, Started
from variants.catalog import CATALOG
from variants.layers import Conv, Dense
from variants.recipes import RECIPES
from variants.recipes.recipe import FixedDrops, Recipe
from variants.spec import AlexNetSpec


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def budget(limit_s: float) -> tuple[Budget, Time]:
    time = Time()
    return Budget(limit_s, time), time


def run_of(seconds: float, task: int, plan: Budget, time: Time) -> None:
    plan.observe(Started(task))
    time.now += seconds
    plan.observe(Ended(task, None))


def test_a_later_run_starts_only_if_one_as_long_as_the_longest_fits() -> None:
    plan, time = budget(100.0)
    run_of(30.0, 0, plan, time)
    run_of(20.0, 1, plan, time)  # shorter: the longest counts
    assert plan.may_start()  # 50 + 30 <= 100
    run_of(21.0, 2, plan, time)
    assert not plan.may_start()  # 71 + 30 > 100


def test_runs_side_by_side_are_timed_each_from_its_own_start() -> None:
    plan, time = budget(100.0)
    plan.observe(Started(0))
    time.now += 10
    plan.observe(Started(1))
    time.now += 30
    plan.observe(Ended(1, None))
    assert plan.longest_s == 30
    plan.observe(Ended(0, "failed"))
    assert plan.longest_s == 40


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_names_rows_that_exist_and_go_together(name: str) -> None:
    study = STUDIES[name]
    assert study.recipe in RECIPES
    geometry = RECIPES[study.recipe].geometry
    assert all(geometry in CATALOG[variant].geometries for variant in study.variants)


def test_a_wrong_study_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"^no study 'imagnet'\. Did you mean 'imagenet'\? See: "):
        study_named("imagnet")


def spec(seed: int) -> RunSpec:
    return RunSpec(
        variant="tiny",
        geometry="mini",
        net=AlexNetSpec(
            input_size=8, layers=(Conv(name="conv1", out=2, kernel=3), Dense(name="fc8", out=2))
        ),
        recipe=Recipe(name="mini", schedule=FixedDrops(at_epochs=()), store_size=8),
        data=DataSpec(
            name="synthetic", listing="0", classes=2, train_images=8, val_images=9, store_size=8
        ),
        seed=seed,
    )


class Sealed:
    """What plan() needs of a record."""

    def __init__(self, spec: RunSpec, reason: str | None = None) -> None:
        self.spec = spec
        self.summary = SimpleNamespace(status="failed" if reason else "ok", status_reason=reason)


def seal(store: Store, run: RunSpec, machine: str, reason: str | None = None) -> None:
    nulls: dict[str, Any] = dict.fromkeys(
        (
            "images_per_second",
            "peak_rss_mib",
            "peak_gpu_mib",
            "gpu_utilisation",
            "gpu_energy_j",
            "cpu_utilisation",
        )
    )
    with store.open(run, replace(describe(store.root, Placement()), machine_id=machine)) as writer:
        if reason:
            writer.fail("failed", reason)
            return
        writer.write_correct("centre", np.arange(9) % 2 == 0, np.ones(9, dtype=bool))
        writer.array("conv1", np.zeros((2, 3, 3, 3), dtype=np.float16))
        writer.seal(
            Summary(
                run_id=writer.run_id, spec_digest=run.digest, status="ok", status_reason=None,
                started_utc=writer.started_utc, finished_utc=writer.utc(), parameters=1, macs=1, steps=1, images_seen=8,
                results={"centre": ProtocolResult(top1_error=0.5, top5_error=0.0, loss=1.0, images=9)},
                final_train_loss=1.0, train_s=1.0, wait_s=0.0, evaluation_s=1.0, warmup_steps=0, loader="synthetic",
                loader_reason="-", missing=dict.fromkeys(nulls, "not measured"), **nulls,
            )
        )  # fmt: skip


def test_a_study_counts_the_records_that_this_machine_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    here, store = machine_id(tmp_path / "cache"), Store(tmp_path / "results")
    seal(store, spec(0), here)
    seal(store, spec(1), here, reason="the loss is nan at step 3")
    seal(store, spec(2), "f" * 32)
    seal(Store(tmp_path / "results" / "reference" / "reproduce"), spec(3), here)
    seal(Store(tmp_path / "results" / "reference" / "figure1"), spec(4), "f" * 32)
    found = counted("reproduce", store).records
    assert [(record.spec.seed, record.summary.status) for record in found] == [(0, "ok"), (1, "failed")]
    assert records_of([spec(1), spec(2)], found) == [found[1]]
    of_a_long_study = counted("figure1", store).records
    # of any machine, and of any study that came with the clone
    assert sorted(record.spec.seed for record in of_a_long_study) == [0, 1, 2, 3, 4]


def test_a_run_that_ended_ok_is_not_planned_again_and_a_failed_one_is() -> None:
    study, request = STUDIES["reproduce"], RunRequest("no_lrn", "mini", "synthetic", 0)
    synthetic = prepare_synthetic(StoreSettings(store_size=36, limit=(4, 4)))
    first = plan(study, request, synthetic, "cpu", [])
    assert len(first.todo) == len(first.requests) == len(study.variants) * study.seeds
    records = [Sealed(first.todo[0]), Sealed(first.todo[1], "the loss is nan at step 3")]
    assert plan(study, request, synthetic, "cpu", records).todo == first.todo[1:]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (2, "the report lists them"),
        (1, "the report lists 1 of them; no record of the others is sealed"),
        (0, "the report does not list them: no record of them is sealed"),
    ],
)
def test_the_sentence_on_failed_runs_says_which_the_report_lists(listed: int, said: str) -> None:
    assert _listed(2, listed) == said
