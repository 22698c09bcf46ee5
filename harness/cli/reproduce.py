"""The work of the command `reproduce`: plans the missing runs, runs them in parallel, and writes the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from harness.cli import reports
from harness.cli.loading import load
from harness.cli.progress import Board, board, console
from harness.errors import RunFailed
from harness.placement import Placement
from harness.records.store import Store
from harness.report.text import count
from harness.resolve import RunRequest, check_request, run_spec, study_requests
from harness.serialization import to_json
from harness.spec import RunSpec
from harness.studies import Budget, Study, Task, missing, own_records, work
from harness.workers import Ended, Happened, News, Variables, run_all


def run_study(
    name: str,
    study: Study,
    request: RunRequest,
    limit_s: float,
    where: Placement,
    environments: Sequence[Variables],
    results: Path,
    out: Path,
    checkpoint_s: float,
    fresh: bool,
) -> None:
    """Run what is missing of `study` and write its report. request: the options common to all of its runs.

    where, environments: as returned by study_placement.
    Raises UsageError before anything is downloaded, RunFailed after the report if some runs failed.
    """
    requests = study_requests(request, study.variants, range(study.seeds))
    for one in requests[: len(study.variants)]:
        check_request(one)
    store = Store(results)
    store.make()
    prepared = load(requests[0], where.loader)
    specs = {run_spec(one, prepared, where.device): one for one in requests}
    todo = missing(list(specs), store)
    console.print(
        f"study {name}: {count(len(specs), 'run')}, {len(specs) - len(todo)} sealed before on this machine, "
        f"{len(todo)} to do, {len(environments)} at a time"
    )
    tasks = [Task(to_json(spec), specs[spec], where, results, prepared.folder, checkpoint_s, fresh) for spec in todo]
    before = {path.name for path in store.folders()}
    failures = _run(todo, tasks, environments, limit_s) if todo else {}
    own, beside = store.verified(), store.verified_reference(name)
    shown = own_records(list(specs), own.records)
    reports.write(name, shown, beside.records, out, (*own.refused, *beside.refused))
    if failures:
        listed = {record.spec for record in shown if record.summary.status != "ok" and record.run_id not in before}
        raise RunFailed(
            f"{len(failures)} of {count(len(todo), 'run')} ended without a result; "
            f"{_listed(len(failures), sum(todo[place] in listed for place in failures))}. "
            f"First: {next(iter(failures.values()))}"
        )


def _listed(failed: int, listed: int) -> str:
    """Which of the failed runs the report lists: those whose record is sealed."""
    if listed == failed:
        return "the report lists them"
    if listed == 0:
        return "the report does not list them: no record of them is sealed"
    return f"the report lists {listed} of them; no record of the others is sealed"


def _run(
    todo: Sequence[RunSpec], tasks: Sequence[Task], environments: Sequence[Variables], limit_s: float
) -> dict[int, str]:
    """Run what fits into the time limit. Returns one sentence for each run that failed, by its place in `todo`."""
    budget = Budget(limit_s, time.monotonic, always=sum(spec.seed == 0 for spec in todo))
    failures: dict[int, str] = {}
    ended = 0
    with board() as bars:
        for news in run_all(tasks, work, environments, budget.may_start):
            budget.observe(news)
            sentence = _show(bars, todo, news)
            ended += isinstance(news, Ended)
            if sentence:
                failures[news.task] = sentence
    if ended < len(todo):
        left = count(len(todo) - ended, "run")
        console.print(f"{left} did not fit into {limit_s / 60:g} minutes; use --minutes to allow more")
    return failures


def _show(bars: Board, todo: Sequence[RunSpec], news: News) -> str | None:
    name = f"{todo[news.task].variant} seed {todo[news.task].seed}"
    if isinstance(news, Happened):
        bars.event(name, news.event)
    if isinstance(news, Ended):
        bars.end(name, "sealed" if news.error is None else f"failed: {news.error}")
        return None if news.error is None else f"{name}: {news.error}"
    return None
