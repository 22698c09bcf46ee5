"""Many tiny runs in a row, and what a process holds after each; worker processes import `work`, so it is cheap."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.events import Event
from harness.placement import LoaderName

IMAGES, STORED = 16, 10


@dataclass(frozen=True)
class Task:
    """Run number `seed` into `results`; prepared: the folder of its data, or None for synthetic images.

    epochs: of two steps each. weights: where they are saved, if anywhere.
    """

    results: Path
    seed: int
    prepared: Path | None = None
    loader: LoaderName = "auto"
    epochs: float = 2.0
    weights: Path | None = None


@dataclass(frozen=True)
class Held:
    """What a process holds after a run. left: what ended runs left beside the sealed records, see `held`."""

    rss_mib: float
    handles: int
    threads: int
    left: int


def held(process: psutil.Process, results: Path) -> Held:
    """Measure it. Left are checkpoints, all that is in .open/, such as the last run's lock, and temporary files."""
    left = [*results.glob(".checkpoints/*/*"), *results.glob("*.tmp"), *results.glob(".open/*")]
    left += Path(tempfile.gettempdir()).glob("*")
    with process.oneshot():
        return Held(
            process.memory_info().rss / (1 << 20), process.num_fds(), process.num_threads(), len(left)
        )


def work(task: Task, listen: Callable[[Event], None]) -> None:
    """One run: steps, a validation and a checkpoint in each epoch, the final evaluation."""
    from harness.data.loaders.synthetic import prepare_synthetic
    from harness.data.prepare.job import open_prepared
    from harness.data.prepare.manifest import StoreSettings
    from harness.placement import Placement
    from harness.records.store import Store
    from harness.run import execute
    from harness.spec import RunSpec
    from variants.layers import Activation, Conv, Dense, Dropout
    from variants.recipes.recipe import Augmentation, Evaluation, FixedDrops, Recipe
    from variants.spec import AlexNetSpec

    layers = (Conv(name="conv1", out=4, kernel=3), Activation(name="relu1"), Dropout(name="drop1"))
    net = AlexNetSpec(input_size=8, layers=(*layers, Dense(name="fc8", out=10)))
    recipe = Recipe(
        name="tiny", batch_size=8, epochs=task.epochs, lr=1e-4, schedule=FixedDrops(at_epochs=()), store_size=STORED,
        augmentation=Augmentation(colour_std=0.0), evaluation=Evaluation(protocols=("centre",), every_epochs=1.0),
    )  # fmt: skip
    settings = StoreSettings(store_size=STORED, limit=(IMAGES, IMAGES))
    prepared = prepare_synthetic(settings) if task.prepared is None else open_prepared(task.prepared)
    spec = RunSpec(
        variant="tiny", geometry="mini", net=net, recipe=recipe, data=prepared.spec, seed=task.seed
    )
    where = Placement(loader=task.loader)
    execute(spec, prepared, Store(task.results), where, listen, task.weights, checkpoint_s=0.0)


def in_this_process(tasks: list[Task]) -> Iterator[Held]:
    """What this process holds after each of the runs."""
    for task in tasks:
        work(task, lambda event: None)
        yield held(psutil.Process(), task.results)


def in_a_worker(tasks: list[Task]) -> Iterator[Held]:
    """What a worker process of `reproduce` holds after each of the runs."""
    from harness.studies.workers import Ended, run_all

    for news in run_all(tasks, work, [{}]):
        if isinstance(news, Ended):
            assert news.error is None, news.error
            worker = max(psutil.Process().children(), key=lambda child: child.memory_info().rss)
            yield held(worker, tasks[0].results)
