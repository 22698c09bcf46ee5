"""What `reproduce` does: plan the missing runs, run them side by side within the budget, write the report, say it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.cli import reports
from harness.cli.loading import load
from harness.cli.progress import Board, board, console
from harness.data.loaders.factory import LoaderName
from harness.errors import RunFailed
from harness.machine.env import usable_cores
from harness.machine.hardware import memory_limit_mib
from harness.records.store import Store
from harness.report.text import count
from harness.resolve import Names, check_names, run_specs
from harness.run import Placement, placement
from harness.serialization import to_json
from harness.spec import RunSpec
from harness.studies import Budget, Study, Task, missing, own_records, study_named, work
from harness.workers import Ended, Happened, News, run_all

RUN_MIB = 3000  # memory to set aside for a run on the CPU; mini runs were seen to peak at 1,650 MiB


@dataclass(frozen=True)
class StudyRequest:
    """A study by name, with what the user wants otherwise."""

    study: str
    variants: tuple[str, ...] | None
    recipe: str | None
    data: str | None
    seeds: int | None
    path: Path | None
    skip_bad_images: bool

    def resolved(self) -> Study:
        study = study_named(self.study)
        return replace(
            study,
            variants=self.variants or study.variants,
            recipe=self.recipe or study.recipe,
            data=self.data or study.data,
            seeds=self.seeds or study.seeds,
        )

    def names(self, study: Study, variant: str, seed: int) -> Names:
        return Names(variant, study.recipe, study.data, seed, self.path, skip_bad_images=self.skip_bad_images)


def run_study(
    request: StudyRequest, limit_s: float, device: str, jobs: int | None, loader: LoaderName, results: Path, out: Path
) -> None:
    """Raises UsageError before anything is downloaded, RunFailed after the report if some runs failed."""
    study = request.resolved()
    for variant in study.variants:
        check_names(request.names(study, variant, 0))
    where = _placement(device, jobs, loader)
    store = Store(results)
    store.make()
    prepared = load(request.names(study, study.variants[0], 0), loader)
    specs = run_specs(
        study.variants,
        request.names(study, study.variants[0], 0),
        range(study.seeds),
        prepared,
        where.device,
    )
    todo = missing(specs, store)
    console.print(
        f"study {request.study}: {count(len(specs), 'run')}, {len(specs) - len(todo)} sealed before on this machine, "
        f"{len(todo)} to do, {where.concurrent} at a time"
    )
    failures = _run(todo, request, study, where, results, limit_s) if todo else []
    reports.write(request.study, own_records(specs, store), store.reference(request.study), out)
    if failures:
        raise RunFailed(
            f"{len(failures)} of {count(len(todo), 'run')} ended without a result; the report lists them. "
            f"First: {failures[0]}"
        )


def _placement(device: str, jobs: int | None, loader: LoaderName) -> Placement:
    where = placement(device, None, 1, loader)
    if where.device != "cpu":
        jobs = jobs or 1
        return replace(where, concurrent=jobs, workers=max(1, usable_cores() // jobs - 1))  # one core feeds the GPU
    jobs = jobs or max(1, min(usable_cores(), memory_limit_mib() // RUN_MIB))
    return replace(where, threads=max(1, usable_cores() // jobs), concurrent=jobs)


def _run(
    todo: Sequence[RunSpec], request: StudyRequest, study: Study, where: Placement, results: Path, limit_s: float
) -> list[str]:
    """Run what the budget admits; returns a sentence for each run that failed."""
    tasks = [Task(to_json(spec), request.names(study, spec.variant, spec.seed), where, results) for spec in todo]
    budget = Budget(limit_s, time.monotonic, always=sum(spec.seed == 0 for spec in todo))
    failures: list[str] = []
    ended = 0
    with board() as bars:
        for news in run_all(tasks, work, where.concurrent, budget.may_start):
            budget.observe(news)
            sentence = _show(bars, todo, news)
            ended += isinstance(news, Ended)
            if sentence:
                failures.append(sentence)
    if ended < len(todo):
        left = count(len(todo) - ended, "run")
        console.print(f"{left} did not fit into {limit_s / 60:g} minutes; --minutes gives more")
    return failures


def _show(bars: Board, todo: Sequence[RunSpec], news: News) -> str | None:
    name = f"{todo[news.task].variant} seed {todo[news.task].seed}"
    if isinstance(news, Happened):
        bars.event(name, news.event)
    if isinstance(news, Ended):
        bars.end(name, "sealed" if news.error is None else f"failed: {news.error}")
        return None if news.error is None else f"{name}: {news.error}"
    return None
