"""What the ranks of a test do; importable by name, so that their processes can run it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tiny_training import CPU, NET, SIDE, net, prepared, recipe
from torch.nn import functional as F

import harness.set_up
from harness.checkpoint import Checkpoints
from harness.cli.app import main
from harness.data.augment.transforms import ImageTransform, train_crop
from harness.data.base import Batch, CropRule, Loader, LoaderSettings
from harness.data.loaders.factory import open_loader
from harness.data.names import Split
from harness.distributed.data_parallel import Traffic, loss_function
from harness.distributed.ranks import Ranks, join
from harness.distributed.tower_state import load_checkpoint, whole_state
from harness.errors import RunFailed
from harness.events import Event, StepsDone
from harness.placement import Placement
from harness.records.store import Store
from harness.run import execute, follow
from harness.spec import RunSpec
from harness.train import TrainState, train
from variants.modules.network import Network
from variants.modules.tower_rank import Sent, TowerRank
from variants.modules.towers import split
from variants.recipes.recipe import Recipe
from variants.spec import AlexNetSpec

SEED = 3


@dataclass(frozen=True)
class Trained:
    """A training's events and final weights, by name."""

    events: list[Event]
    weights: dict[str, NDArray[np.float32]]


def trained(ranks: Ranks, spec: AlexNetSpec, rules: Recipe, images: int) -> Trained:
    """One training on `images` synthetic images of 10 x 10 pixels, evaluated on as many."""
    return trained_net(ranks, net(spec), rules, images)


def trained_net(ranks: Ranks, model: Network, rules: Recipe, images: int) -> Trained:
    state = TrainState.start(model, rules)
    events = list(events_of(ranks, state, rules, images))
    return Trained(
        events,
        {name: weight.detach().numpy().copy() for name, weight in state.model.named_parameters()},
    )


def events_of(
    ranks: Ranks,
    state: TrainState,
    rules: Recipe,
    images: int,
    stop: Callable[[], bool] = lambda: False,
    seed: int | None = SEED,
) -> Iterator[Event]:
    """A training from `state` on. seed: of torch's generator; None leaves it as it is."""
    if seed is not None:
        torch.manual_seed(seed)
    torch.set_num_threads(1)
    data = prepared(images)
    settings = LoaderSettings(
        batch_size=rules.batch_size, crop=train_crop(rules, SIDE), seed=SEED, shuffle=True
    )
    if not isinstance(state.model, TowerRank):
        settings = replace(settings, rank=ranks.rank, world_size=ranks.world_size)
    in_order = replace(settings, crop=CropRule(), shuffle=False)
    splits: list[Split] = ["train", "val"] if rules.evaluation.training_error else ["val"]
    eval_loaders = {split: open_loader(data, split, in_order) for split in splits}
    pixels = ImageTransform(data, rules, SIDE, SEED, CPU)
    loader = open_loader(data, "train", settings)
    return train(state, loader, eval_loaders, pixels, rules, CPU, stop=stop, ranks=ranks)


def trainings(ranks: Ranks, cases: list[tuple[AlexNetSpec, Recipe, int]]) -> list[Trained]:
    return [trained(ranks, *case) for case in cases]


def towers(ranks: Ranks, spec: AlexNetSpec) -> Network:
    """This rank's tower; both of them for one rank."""
    both = split(net(spec), ("cpu", "cpu"))
    model = both if ranks.world_size == 1 else TowerRank(both, ranks.rank)
    return model.to(memory_format=torch.channels_last)


def tower_trainings(ranks: Ranks, cases: list[tuple[AlexNetSpec, Recipe, int]]) -> list[Trained]:
    return [trained_net(ranks, towers(ranks, spec), rules, images) for spec, rules, images in cases]


def boxed_step(ranks: Ranks, spec: AlexNetSpec) -> tuple[float, dict[str, NDArray[np.float32]]]:
    """The sum of scores and boxes of eight images, and this rank's gradients of it."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = towers(ranks, spec)
    images = torch.randn(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    scores, boxes = model.forward_with_box(images.contiguous(memory_format=torch.channels_last))
    loss = scores.square().sum() + boxes.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    return loss.item(), {name: held.numpy() for name, held in gradients.items() if held is not None}


# ------------------------------------------------------------------------------------------------------------ to resume


def towers_resumed(
    ranks: Ranks, run: RunSpec, images: int, at: int, folder: Path
) -> tuple[list[float], list[float]]:
    """Losses until a checkpoint at step `at`, and those of a new state that has loaded it."""
    rules = run.recipe
    state = TrainState.start(towers(ranks, run.net), rules)
    before = losses(list(events_of(ranks, state, rules, images, stop=lambda: state.done >= at)))
    checkpoints = Checkpoints(folder, run, 600.0, lambda: 0.0)
    whole = whole_state(state, rules)
    if ranks.rank == 0:
        checkpoints.save(whole, [], "run-1")
    ranks.gather(None)  # the other one waits for the file
    torch.manual_seed(99)
    again = TrainState.start(towers(ranks, run.net), rules)
    assert load_checkpoint(checkpoints, again, rules) is not None
    return before, losses(list(events_of(ranks, again, rules, images, seed=None)))


def resumed(
    ranks: Ranks, spec: AlexNetSpec, rules: Recipe, images: int, at: int, folder: Path
) -> tuple[Any, Any]:
    """Losses of a training of each rank that never stopped, and of one that was stopped and resumed at step `at`."""
    whole = losses(trained(ranks, spec, rules, images).events)
    state = TrainState.start(net(spec), rules)
    before = losses(list(events_of(ranks, state, rules, images, stop=lambda: state.done >= at)))
    run = RunSpec(
        variant="tiny", geometry="mini", net=spec, recipe=rules, data=prepared(images).spec, seed=SEED
    )
    checkpoints = Checkpoints(folder, replace(run, world_size=ranks.world_size), 600.0, lambda: 0.0)
    if ranks.rank == 0:
        checkpoints.save(state, [], "run-1")
    ranks.gather(None)  # the others wait for the file
    torch.manual_seed(99)
    again = TrainState.start(net(spec), rules)
    assert checkpoints.load(again) is not None
    ranks.refuse_different_steps(again.done)
    return whole, before + losses(list(events_of(ranks, again, rules, images)))


def losses(events: list[Event]) -> list[float]:
    return [loss for event in events if isinstance(event, StepsDone) for loss in event.losses]


# --------------------------------------------------------------------------------------------------- whole runs, ends


def run_of(world_size: int, images: int = 20, **changes: Any) -> RunSpec:
    """Two epochs of the tiny net."""
    rules = recipe(epochs=2.0, **changes)
    spec = RunSpec(
        variant="tiny", geometry="mini", net=NET, recipe=rules, data=prepared(images).spec, seed=SEED
    )
    return replace(spec, world_size=world_size)


def executed(
    ranks: Ranks, run: RunSpec, images: int, results: Path, fault: str = "", faulty_rank: int = 1
) -> str:
    """A run as `python -m harness run` does it. fault: of one rank before its third step."""
    data, where, store = prepared(images), Placement(loader="auto"), Store(results)
    if ranks.rank == faulty_rank and fault:
        harness.set_up.train = partial(faulty, fault)  # type: ignore[attr-defined]
    if ranks.rank > 0:
        follow(run, data, store, where, ranks)
        return "followed"
    return str(execute(run, data, store, where, ranks=ranks, checkpoint_s=0.0).path)


def faulty(
    fault: str, state: TrainState, loader: Loader, *arguments: Any, **named: Any
) -> Iterator[Event]:
    """A train loop whose loader raises or hangs, or to which a signal comes, before its third batch."""

    class Faulty:
        images, batches, choice = loader.images, loader.batches, loader.choice

        @contextmanager
        def epoch(self, epoch: int) -> Iterator[Iterator[Batch]]:
            with loader.epoch(epoch) as batches:
                yield (self._after_fault(epoch, number, batch) for number, batch in enumerate(batches))

        def _after_fault(self, epoch: int, number: int, batch: Batch) -> Batch:
            if (epoch, number) == (0, 2):
                if fault == "raise":
                    raise RunFailed("the disk of rank 1 is gone")
                if fault == "hang":
                    time.sleep(4.0)
                if fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if fault == "stop":
                    os.kill(os.getpid(), signal.SIGTERM)
            return batch

    return train(state, Faulty(), *arguments, **named)


def killed_once(run: RunSpec, images: int, results: Path, victim: int) -> None:
    """A rank as torchrun starts it, of a run in which one rank is killed in the first of its lives."""
    fault = "kill" if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" else ""
    with join() as ranks:
        executed(ranks, run, images, results, fault, victim)


def command(rank: int, words: list[str], folder: Path) -> None:
    """`python -m harness ...` with its streams in two files of the folder. It ends by SystemExit."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{name}", os.O_CREAT | os.O_WRONLY), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    main(words)


# -------------------------------------------------------------------------------------------------------- communication


def towers_trained(
    ranks: Ranks, spec: AlexNetSpec, images: NDArray[np.float64]
) -> tuple[Any, Any, int, int]:
    """Losses and weights of this process's tower after a step for each batch of images, and what it sent."""
    sent = Sent()
    tower = TowerRank(split(net(spec).double(), ("cpu", "cpu")), ranks.rank, sent)
    optimizer, found = torch.optim.SGD(tower.parameters(), lr=0.05, momentum=0.9), []
    for batch in torch.from_numpy(images):
        optimizer.zero_grad()
        scores = tower(batch)
        loss = F.cross_entropy(scores, torch.arange(len(batch))) if ranks.rank == 0 else scores.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(loss.item())
    weights = {name: weight.detach().numpy().copy() for name, weight in tower.named_parameters()}
    return found, weights, sent.forward, sent.backward


def gradients_counted(ranks: Ranks, spec: AlexNetSpec) -> tuple[int, int, int]:
    """Bytes and calls that this rank handed to all-reduce in three steps, the last without images on some ranks."""
    traffic, model, rules = Traffic(), net(spec), recipe()
    compute_loss = loss_function(model, ranks, rules, CPU, traffic)
    for size in (4, 4, int(ranks.rank == 0)):
        images, labels = torch.zeros(size, 3, SIDE, SIDE), torch.zeros(size, dtype=torch.int64)
        _, loss = compute_loss(images, labels, None, rules.loss, 1 / ranks.world_size)
        loss.backward()  # type: ignore[no-untyped-call]
    return traffic.gradient_bytes, traffic.calls, 3
