"""Measures the training step of two towers in two processes beside that of one process: with the
paper's net for one GPU, and with the same net.

In 2012 the net on two GPUs took "slightly less time to train" than the net for one GPU, which has half
as many kernels in conv1 to conv4 (sec. 3.2). Here a core with one thread, or a GPU, takes the place of
a GPU of 2012. All are measured alternately on a batch that stays in memory.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from statistics import median

import torch
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # it has no entry in __all__

from harness.bench.step import WINDOW_S, Step
from harness.bench.timing import Elsewhere, Way, Windows, interleaved
from harness.distributed.ranks import Ranks, join
from harness.distributed.tower_parallel import tower_loss
from harness.errors import RunFailed
from harness.placement import Placement
from harness.records.bench import Ratio
from harness.set_up import network
from harness.spec import RunSpec
from harness.train import TrainState
from variants.columns import first_column_macs
from variants.communication import bytes_per_tower, tower_links
from variants.modules.network import Network
from variants.modules.tower_rank import TowerRank
from variants.recipes.recipe import Loss

TOWERS = "two towers, two processes"
LAST_WORDS_S = 5.0  # after which a process is ended


@dataclass(frozen=True)
class TowersResult:
    """windows: of each way, by its name; the first one is TOWERS.

    communication_ms: of a step, the median of each rank's time in which it sent or waited for the other
    one. On a GPU it is the time in which work was given to NCCL, which is not the same. bytes_sent: by
    each of the two in a step. macs_ratio: multiply-accumulates of the first tower, as a multiple of those
    of the net for one GPU.
    """

    windows: Windows
    communication_ms: tuple[float, float]
    bytes_sent: int
    macs_ratio: float

    @property
    def time_ratios(self) -> dict[str, Ratio]:
        """How many times as long a step of the two towers takes as each of the others."""
        return {name: self.windows.ratio(name, TOWERS) for name in self.windows.of if name != TOWERS}


def measure_towers(spec: RunSpec, one_gpu: RunSpec, device: str, windows: int) -> TowersResult:
    """Measure all alternately. spec: of a net with two columns. one_gpu: of the net to compare it with.

    device: "cpu", where each tower and each other net has one thread, and the net of `spec` also two;
    or "cuda", where each tower has its own GPU. Raises RunFailed if a tower's process ends.
    """
    alone = torch.device("cuda:0" if device == "cuda" else device)
    whole, single = Step(spec, alone), Step(one_gpu, alone)
    with _tower_pair(spec, device) as pair:
        ways = {
            TOWERS: pair.window(),
            f"{one_gpu.variant}, one process": _with_threads(1, single.window()),
            f"{spec.variant}, one process": _with_threads(1, whole.window()),
        }
        if device == "cpu":
            ways[f"{spec.variant}, one process with two threads"] = _with_threads(2, whole.window())
        measured = interleaved(ways, windows)
        used = pair.used[-windows:]
    first_ms, second_ms = (
        1000 * median(both[rank].communication_s for both in used) / pair.steps for rank in range(2)
    )
    sent = bytes_per_tower(tower_links(spec.net, spec.recipe.batch_size))
    macs_ratio = first_column_macs(spec.net) / one_gpu.net.macs
    return TowersResult(measured, (first_ms, second_ms), sent, macs_ratio)


def _with_threads(threads: int, window: Way) -> Way:
    def way() -> int | Elsewhere:
        torch.set_num_threads(threads)
        return window()

    return way


@dataclass(frozen=True)
class Used:
    """What one tower's process used in a window."""

    communication_s: float
    cpu_s: float


class TowerPair:
    """The two processes, by their pipes; calling it lets both train for `steps` steps."""

    def __init__(self, pipes: list[Connection], batch_size: int) -> None:
        self._pipes, self._batch_size = pipes, batch_size
        self.used: list[tuple[Used, ...]] = []  # by each rank, in each window
        self.steps = 1

    def __call__(self) -> Elsewhere:
        try:
            for pipe in self._pipes:
                pipe.send(self.steps)
            found: dict[Connection, Used] = {}
            while left := [pipe for pipe in self._pipes if pipe not in found]:
                ready = wait(left)  # for the first to answer or to end
                found |= {pipe: pipe.recv() for pipe in left if pipe in ready}
            self.used.append(tuple(found[pipe] for pipe in self._pipes))
        except (EOFError, OSError) as error:
            raise RunFailed("a tower's process has ended; its error is above") from error
        cpu_s = sum(each.cpu_s for each in self.used[-1])
        return Elsewhere(self.steps * self._batch_size, cpu_s)

    def window(self) -> Way:
        """As many steps at a time as take about WINDOW_S; the first one takes longer, and is not
        timed.
        """
        self()
        start_s = time.perf_counter()
        self()
        self.steps = max(1, round(WINDOW_S / (time.perf_counter() - start_s)))
        return self


@contextmanager
def _tower_pair(spec: RunSpec, device: str) -> Iterator[TowerPair]:
    """Two processes with a tower each, which end with this block."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    ours, theirs = zip(*(context.Pipe() for _ in range(2)), strict=True)
    towers = replace(spec, layout="two_towers", world_size=2)
    processes = [
        context.Process(target=_train, args=(rank, store.port, towers, device, theirs[rank]))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for pipe in theirs:
        pipe.close()
    try:
        yield TowerPair(list(ours), spec.recipe.batch_size)
    finally:
        for pipe in ours:
            pipe.close()
        for process in processes:
            process.join(LAST_WORDS_S)
            process.terminate()  # one that still waits for the other, which has failed
            process.join()


def _train(rank: int, port: int, spec: RunSpec, device: str, pipe: Connection) -> None:
    """A tower's process: trains for as many steps as it is told, until the pipe is closed."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    torch.set_num_threads(1)
    if device == "cpu":
        keep_on_core(rank)
    with join() as ranks:
        step = TowerStep(
            spec, torch.device("cuda", rank) if device == "cuda" else torch.device("cpu"), ranks
        )
        while True:
            try:
                steps = pipe.recv()
            except EOFError:
                return
            before_s, cpu_s = step.tower.sent.seconds, time.process_time()
            for _ in range(steps):
                step()
            pipe.send(Used(step.tower.sent.seconds - before_s, time.process_time() - cpu_s))


def keep_on_core(rank: int) -> None:
    """Bind this process to one core, where Linux allows it. Else the scheduler often puts a process that
    was woken by a message onto the core of its sender, and both share it.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})


class TowerStep(Step):
    """This rank's part of a training step of two towers."""

    def __init__(self, spec: RunSpec, device: torch.device, ranks: Ranks) -> None:
        super().__init__(spec, device)
        model = network(spec, Placement(device=str(device)), ranks)
        assert isinstance(model, TowerRank)
        self.tower = model.to(memory_format=torch.channels_last).train()
        self.state, self.loss_of = TrainState.start(self.tower, spec.recipe), _loss_of


def _loss_of(
    model: Network, images: Tensor, labels: Tensor, boxes: Tensor | None, loss: Loss
) -> tuple[Tensor, Tensor]:
    assert isinstance(model, TowerRank)
    return tower_loss(model, images, labels, boxes, loss, 1.0)
