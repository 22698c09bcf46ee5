"""The work of the command `reproduce`: plans the missing runs, runs them in parallel, and writes the
report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.cli import reports
from harness.cli.loading import load
from harness.cli.progress import Board, board, console, words_left
from harness.data.base import Prepared
from harness.errors import RecordError, RunFailed
from harness.events import TrainingStarted
from harness.overrides import label
from harness.placement import Placement
from harness.records.store import RunRecord, Store
from harness.report.text import count
from harness.resolve import RunRequest, check_request, study_requests
from harness.serialization import to_json
from harness.spec import RunSpec
from harness.status import unfinished
from harness.studies.progress import remove_plan, study_states, write_plan
from harness.studies.runs import Budget, Planned, Task, counted, plan, records_of, work
from harness.studies.study import LONG_SAMPLE_S, Study
from harness.studies.workers import (
    FAILURES_OF_A_DEVICE,
    DeviceGivenUp,
    Ended,
    Happened,
    Started,
    Variables,
    run_all,
)


@dataclass(frozen=True)
class Options:
    """How a study runs. where, environments: as returned by study_placement. limit_s: start no run that
    would end later. checkpoint_s: time between two checkpoints; fresh: ignore them.
    """

    where: Placement
    environments: Sequence[Variables]
    limit_s: float
    checkpoint_s: float
    fresh: bool


def run_study(
    name: str, study: Study, request: RunRequest, options: Options, results: Path, out: Path
) -> None:
    """Run what is missing of `study` and write its report. request: the options common to all of its
    runs.

    Raises UsageError before anything is downloaded, RunFailed after the report if some runs failed.
    """
    firsts = study_requests(request, study.variants, [0])
    for one in firsts:
        check_request(one)
    store = Store(results)
    store.make()
    prepared = load(firsts[0], options.where.loader)
    before = {path.name for path in store.folders()}
    budget = Budget(options.limit_s, time.monotonic)
    ended: dict[RunSpec, str | None] = {}
    while True:  # once, or with a search of learning rates until no run follows from its results
        planned = plan(study, request, prepared, options.where.device, counted(name, store).records)
        todo = [spec for spec in planned.todo if spec not in ended]
        _announce(name, planned, todo, options)
        write_plan(results, name, list(planned.requests), planned.todo, len(options.environments))
        tasks = [_task(spec, planned, study, options, results, prepared.folder) for spec in todo]
        show = partial(_show_study, name, results)
        new = _run(todo, tasks, options.environments, budget, show) if todo else {}
        ended |= new
        if not study.searches or not todo or len(new) < len(todo):
            break
    remove_plan(results, name)
    used, beside = counted(name, store), store.verified_reference(name)
    shown = records_of(planned.requests, used.records)
    refused = (*used.refused, *beside.refused)
    reports.write(name, shown, () if study.long else beside.records, refused, out=out, results=results)
    _raise_failures(ended, [record for record in shown if record.run_id not in before])


def _announce(name: str, planned: Planned, todo: Sequence[RunSpec], options: Options) -> None:
    console.print(
        f"study {name}: {count(len(planned.requests), 'run')}, "
        f"{len(planned.requests) - len(planned.todo)} sealed before, {len(todo)} to do, "
        f"{len(options.environments)} at a time"
    )


def study_tasks(
    name: str,
    study: Study,
    request: RunRequest,
    prepared: Prepared,
    where: Placement,
    store: Store,
    checkpoint_s: float,
) -> list[Task]:
    """The runs of the study that are known and missing, for `submit`."""
    planned = plan(study, request, prepared, where.device, counted(name, store).records)
    options = Options(where, (), 0.0, checkpoint_s, fresh=False)
    return [
        _task(spec, planned, study, options, store.root.absolute(), prepared.folder)
        for spec in planned.todo
    ]


def _task(
    spec: RunSpec,
    planned: Planned,
    study: Study,
    options: Options,
    results: Path,
    prepared: Path | None,
) -> Task:
    return Task(
        spec=to_json(spec),
        request=planned.requests[spec],
        placement=options.where,
        results=results,
        prepared=prepared,
        checkpoint_s=options.checkpoint_s,
        fresh=options.fresh,
        sample_s=LONG_SAMPLE_S if study.long else 1.0,
    )


def _raise_failures(ended: Mapping[RunSpec, str | None], sealed: Sequence[RunRecord]) -> None:
    """Raise RunFailed if a run failed. sealed: this study's records since it started."""
    failures = {spec: sentence for spec, sentence in ended.items() if sentence is not None}
    if not failures:
        return
    listed = {record.spec for record in sealed if record.summary.status != "ok"}
    raise RunFailed(
        f"{len(failures)} of {count(len(ended), 'run')} ended without a result; "
        f"{_listed(len(failures), sum(spec in listed for spec in failures))}. First: "
        f"{next(iter(failures.values()))}"
    )


def _listed(failed: int, listed: int) -> str:
    """Which of the failed runs the report lists: those whose record is sealed."""
    if listed == failed:
        return "the report lists them"
    if listed == 0:
        return "the report does not list them: no record of them is sealed"
    return f"the report lists {listed} of them; no record of the others is sealed"


def _run(
    todo: Sequence[RunSpec],
    tasks: Sequence[Task],
    environments: Sequence[Variables],
    budget: Budget,
    show_study: Callable[[], None],
) -> dict[RunSpec, str | None]:
    """Run what fits into the time limit.

    Returns for each run that ended None, or the sentence of its failure.
    """
    always = sum(spec.seed == 0 for spec in todo)
    ended: dict[RunSpec, str | None] = {}
    given_up = 0
    with board() as bars:
        for news in run_all(
            tasks, work, environments, lambda task: task < always or budget.may_start()
        ):
            if isinstance(news, DeviceGivenUp):
                console.print(_given_up(news))
                given_up += 1
                continue
            budget.observe(news)
            sentence = _show(bars, todo, news)
            if isinstance(news, Happened) and isinstance(news.event, TrainingStarted):
                show_study()
            if isinstance(news, Ended):
                ended[todo[news.task]] = sentence
    if len(ended) < len(todo):
        left = count(len(todo) - len(ended), "run")
        no_device = given_up == len(environments[: len(tasks)])
        console.print(
            f"no device is left for {left}; repeat the command when one works again"
            if no_device
            else f"{left} did not fit into {budget.limit_s / 60:g} minutes; use --minutes to allow more"
        )
    return ended


def _given_up(news: DeviceGivenUp) -> str:
    device = news.environment.get("CUDA_VISIBLE_DEVICES", "the device")
    return f"{device} has failed {FAILURES_OF_A_DEVICE} times in a row and is used no more"


def _show_study(name: str, results: Path) -> None:
    """Print how far the study is; if that can't be read, the study goes on without."""
    with suppress(RecordError, OSError):
        for state in study_states(results, unfinished(results)):
            if state.name == name:
                console.print(state.words + words_left(state.left_s), soft_wrap=True)


def _show(bars: Board, todo: Sequence[RunSpec], news: Started | Happened | Ended) -> str | None:
    spec = todo[news.task]
    name = f"{spec.variant} seed {spec.seed}" + (f", {label(spec.overrides)}" if spec.overrides else "")
    if isinstance(news, Happened):
        bars.event(name, news.event)
    if isinstance(news, Ended):
        bars.end(name, "sealed" if news.error is None else f"failed: {news.error}")
        return None if news.error is None else f"{name}: {news.error}"
    return None
