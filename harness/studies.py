"""Studies: named lists of runs to compare. Runs that this machine has sealed already are not repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.prepare.job import open_prepared
from harness.errors import unknown
from harness.events import Event
from harness.machine.collect_env import machine_id
from harness.placement import Placement
from harness.records.store import RunRecord, Store
from harness.resolve import RunRequest, prepare_for
from harness.run import execute
from harness.serialization import from_json
from harness.setup.cache import cache_folder
from harness.spec import RunSpec
from harness.workers import Ended, News, Started
from variants.catalog import CATALOG
from variants.values import value


@value
class Study:
    """Variants, recipe and data of a study. `meaning` is one line for the list and the report."""

    meaning: str
    variants: tuple[str, ...]
    recipe: str = "mini"
    data: str = "fashion_mnist"
    seeds: int = 3


def _trainable(boxes: bool) -> tuple[str, ...]:
    """Rows with a mini geometry, either with or without a box head."""
    rows = [row for row in CATALOG.values() if "mini" in row.geometries]
    return tuple(row.name for row in rows if (row.spec.box is not None) == boxes)


CARD = ("grouped_2gpu", "single_gpu", "no_lrn", "non_overlapping_pool", "ungrouped", "one_weird_trick")
STUDIES: dict[str, Study] = {
    "reproduce": Study(meaning="the six networks of README's table, small, on any machine", variants=CARD),
    "catalogue": Study(meaning="every row of the catalogue that fits 32 pixels", variants=_trainable(boxes=False)),
    "article": Study(
        meaning="the article's networks, with classifier and box head, and the paper's",
        variants=("grouped_2gpu", *_trainable(boxes=True)),
        data="boxes",
    ),
    "imagenet": Study(
        meaning="the same six at full size with the paper's recipe; needs --path to ImageNet and a GPU",
        variants=CARD,
        recipe="paper",
        data="imagenet",
        seeds=1,
    ),
}


def study_named(name: str, **changes: Any) -> Study:
    """The study with the fields that are not None changed. Raises UsageError with a suggestion."""
    if name not in STUDIES:
        raise unknown("study", name, STUDIES, "python -m harness reproduce --help")
    return replace(STUDIES[name], **{field: new for field, new in changes.items() if new is not None})


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


def work(task: Task, listen: Callable[[Event], None]) -> None:
    """The work of a worker: open the prepared data, without listing its source again, and execute the run."""
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
    )


@dataclass
class Budget:
    """The time limit for starting runs. The first seed of every variant always runs; later seeds only if they fit."""

    limit_s: float
    clock: Callable[[], float]
    always: int  # this many first tasks run without a time limit

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

    def may_start(self, task: int) -> bool:
        return task < self.always or self.clock() - self.started_s + self.longest_s <= self.limit_s


def missing(specs: Sequence[RunSpec], store: Store) -> list[RunSpec]:
    """The runs that this machine has not sealed as ok yet. Records that came with the clone don't count."""
    finished = store.finished(machine_id(cache_folder()))
    return [spec for spec in specs if spec.digest not in finished]


def own_records(specs: Sequence[RunSpec], records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records of these runs that this machine sealed, with any status. Copied records are left out."""
    digests, here = {spec.digest for spec in specs}, machine_id(cache_folder())
    sealed = [record for record in records if record.env.machine_id == here]
    return [record for record in sealed if record.spec.digest in digests]
