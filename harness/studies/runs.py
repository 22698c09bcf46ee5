"""The runs of a study: which are known and missing, what a worker does for each, and which still fit
into the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from harness.data.base import Prepared
from harness.data.prepare.job import open_prepared
from harness.events import Event
from harness.machine.collect_env import machine_id
from harness.placement import Placement
from harness.records.store import RunRecord, Store, Verified
from harness.resolve import RunRequest, check_request, prepare_for, run_spec, study_requests
from harness.run import execute
from harness.serialization import from_json
from harness.setup.cache import cache_folder
from harness.spec import RunSpec
from harness.studies.lr_search import finished, searched_requests
from harness.studies.rows import STUDIES
from harness.studies.study import Study
from harness.studies.workers import Ended, News, Started


@dataclass(frozen=True)
class Task:
    """One run for a worker process: the spec as JSON, and the folder of its prepared data.

    prepared: None for images that are made in memory; the worker makes them from `request`.
    """

    spec: str
    request: RunRequest
    placement: Placement
    results: Path
    prepared: Path | None = None
    checkpoint_s: float = 600.0
    fresh: bool = False
    sample_s: float = 1.0


def work(task: Task, listen: Callable[[Event], None]) -> None:
    """The work of a worker: open the prepared data, without listing its source again, and execute
    the run.
    """
    spec = from_json(task.spec, RunSpec)
    request, folder = task.request, task.prepared
    prepared = prepare_for(request, task.placement.loader) if folder is None else open_prepared(folder)
    execute(
        spec,
        prepared,
        Store(task.results),
        task.placement,
        listen,
        checkpoint_s=task.checkpoint_s,
        fresh=task.fresh,
        sample_s=task.sample_s,
    )


@dataclass
class Budget:
    """The time limit for starting runs: one starts only if another as long as the longest so far
    would end in time.
    """

    limit_s: float
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self.started_s = self.clock()
        self.begun: dict[int, float] = {}
        self.longest_s = 0.0

    def observe(self, news: News) -> None:
        """Update the estimated duration of a run from one that ended."""
        if isinstance(news, Started):
            self.begun[news.task] = self.clock()
        elif isinstance(news, Ended):
            self.longest_s = max(self.longest_s, self.clock() - self.begun[news.task])

    def may_start(self) -> bool:
        return self.clock() - self.started_s + self.longest_s <= self.limit_s


@dataclass(frozen=True)
class Planned:
    """The runs of a study that are known so far, in the order in which they run.

    todo: those without a finished record.
    """

    requests: Mapping[RunSpec, RunRequest]
    todo: tuple[RunSpec, ...]


def plan(
    study: Study, request: RunRequest, prepared: Prepared, device: str, records: Sequence[RunRecord]
) -> Planned:
    """The runs of `study`. With searches, the runs at the chosen rates are known once all searches are
    done.

    request: the options common to all runs. records: those that count (`counted`).
    """
    ends = finished if study.searches else lambda record: record.summary.status == "ok"
    done = {record.spec.digest: record for record in records if ends(record)}
    spec_of = cache(lambda one: run_spec(one, prepared, device))
    if study.searches:
        threshold = check_request(replace(request, variant=study.variants[0]))[1].stop_below
        assert threshold is not None  # a study with searches has one
        found = lambda one: done.get(spec_of(one).digest)  # noqa: E731
        requests = searched_requests(request, study.searches, range(study.seeds), found, threshold)
    else:
        requests = study_requests(request, study.variants, range(study.seeds))
    specs = {spec_of(one): one for one in requests}
    return Planned(specs, tuple(spec for spec in specs if spec.digest not in done))


def counted(study: str, store: Store) -> Verified:
    """The records whose numbers a study may use: those of this machine; for a long study, those of any
    machine, also those that came with the clone, of whatever study.
    """
    own = store.verified()
    if STUDIES[study].long:
        beside = store.verified_reference()
        return Verified([*own.records, *beside.records], (*own.refused, *beside.refused))
    here = machine_id(cache_folder())
    return Verified([record for record in own.records if record.env.machine_id == here], own.refused)


def records_of(specs: Iterable[RunSpec], records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records of these runs, with any status."""
    digests = {spec.digest for spec in specs}
    return [record for record in records if record.spec.digest in digests]
