"""The ranks of a run: processes that torchrun started, what they tell each other, and how they end
together.

    torchrun --nproc-per-node 4 -m harness run --variant grouped_2gpu --recipe paper --data imagenet

data_parallel.py has what they compute, and tower_parallel.py what two ranks with a tower each compute.
The first rank writes the record and the checkpoints; the others
write nothing. All ranks read the results folder for checkpoints, so on several machines it must be a
common one. With `torchrun --max-restarts 3` all ranks start again from the last checkpoint when one of
them was killed.

An error of one rank ends all. The first rank to fail leaves its sentence in the store that all ranks
have in common; it prints the sentence, and the first rank's record has it as the reason. A rank that
hangs ends the run after 10 minutes, and a rank ends with the process that started it. Probes sample the
first rank only, so CPU use and energy are its own; probes.json has the device and peak memory of each
rank, and env.json all GPUs that were used.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from harness.errors import INTERRUPTED, HarnessError, RunFailed, UsageError
from harness.signals import StopRequests, Terminated

LOST = "another rank ended without a word; it was killed, or out of memory, or hangs"
# of a collective; longer than any pause of a healthy rank, such as two loader stalls of 30 s
TIMEOUT_S = 600.0
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's rank among those of its run. ALONE, the only rank, uses no torch.distributed.

    store: common to all ranks. host: their gloo group, for everything but gradients.
    """

    rank: int = 0
    world_size: int = 1
    store: Store | None = None
    host: Any = None

    def sum(self, part: Tensor) -> Tensor:
        """The sum over ranks, on the CPU, for small tensors.

        It is added in the order of the ranks. all_reduce adds an element in an order that depends on
        the tensor's length, so that a resumed run, with other windows, would have other losses in the
        last bit.
        """
        if self.world_size == 1:
            return part
        mine = part.cpu().contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(parts, mine, group=self.host)
        total = parts[0]
        for each in parts[1:]:
            total = total + each
        return total

    def sum_array(self, part: NDArray[Any]) -> NDArray[Any]:
        """The sum over ranks of arrays of any size; flags are set where one rank has set them."""
        if self.world_size == 1:
            return part
        whole = torch.from_numpy(part.astype(np.uint8 if part.dtype == np.bool_ else part.dtype))
        dist.all_reduce(whole, group=self.host)
        return whole.numpy().astype(part.dtype)

    def gather(self, mine: T) -> list[T]:
        """The objects of all ranks, by rank."""
        if self.world_size == 1:
            return [mine]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, mine, group=self.host)
        return found

    def of_first(self, mine: T) -> T:
        """The first rank's object, on all ranks."""
        return self.gather(mine)[0]

    def refuse_different_steps(self, done: int) -> None:
        """Raise RunFailed unless all ranks resume from the same step, as they do with a common
        results folder.
        """
        if len(steps := set(self.gather(done))) > 1:
            raise RunFailed(
                f"the ranks have loaded checkpoints of different steps, {min(steps)} to {max(steps)}; "
                "use one results folder for all machines"
            )

    # ---------------------------------------------------------------------------------------------- the end of a run

    @contextmanager
    def one_reason(self) -> Iterator[None]:
        """If another rank failed first, its sentence becomes this rank's RunFailed, so that the
        record has it.
        """
        try:
            yield
        except BaseException as error:
            if self.world_size == 1:
                raise
            first = self.first_error(error)
            if first.rank == self.rank or (
                isinstance(error, KeyboardInterrupt) and first.code == INTERRUPTED
            ):
                raise
            if first.code == INTERRUPTED:
                raise Terminated(first.sentence) from error
            raise RunFailed(first.sentence) from error

    def first_error(self, error: BaseException) -> FirstError:
        """Which rank was the first to fail, after this rank failed with `error`."""
        assert self.store is not None
        sentence = LOST if is_lost_connection(error) else str(error) or type(error).__name__
        mine = json.dumps({"rank": self.rank, "sentence": sentence, "code": exit_code(error)})
        try:
            return FirstError(**json.loads(self.store.compare_set("first_error", "", mine)))
        except RuntimeError:  # the store went with its process
            return FirstError(**json.loads(mine))


ALONE = Ranks()


@dataclass(frozen=True)
class FirstError:
    """Which rank failed first, why, and the exit code."""

    rank: int
    sentence: str
    code: int


class StopTogether:
    """Whether to stop after this step: the same answer on each rank, if a signal came to any of them.

    The ranks' answer is that of one step before, so that no rank waits for the others' flags.
    """

    def __init__(self, ranks: Ranks, requests: StopRequests) -> None:
        self._ranks, self._requests = ranks, requests
        self._pending: tuple[dist.Work, Tensor] | None = None
        self._agreed = False

    def __call__(self) -> bool:
        if self._ranks.world_size == 1:
            return self._requests()
        self._take()
        flag = torch.tensor(int(self._requests.signal or 0))
        self._pending = (
            dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._ranks.host, async_op=True),
            flag,
        )
        return self._agreed

    def raise_if_asked(self) -> None:
        """Raise Terminated on all ranks, if a signal came to any of them before the end of training."""
        if self._ranks.world_size > 1:
            self()
            self._take()
        self._requests.raise_if_asked()

    def _take(self) -> None:
        if self._pending is None:
            return
        work, flag = self._pending
        work.wait()
        if flag.item():
            self._agreed, self._requests.signal = True, signal.Signals(int(flag.item()))


# ------------------------------------------------------------------------------------------------------- the processes


@contextmanager
def join(environ: Mapping[str, str] = os.environ, timeout_s: float = TIMEOUT_S) -> Iterator[Ranks]:
    """This process's place among the ranks that torchrun started; ALONE if it started none, or only
    one.

    A rank that does not answer for `timeout_s` ends the run. A rank ends with the process that started
    it. Of all ranks that fail, only the first raises its error here; the others exit without a word,
    with the same code.
    """
    if "RANK" not in environ or int(environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    threading.Thread(target=_end_when_parent_ends, args=(os.getppid(),), daemon=True).start()
    ranks = _connect(timedelta(seconds=timeout_s))
    try:
        yield ranks
    except BaseException as error:
        first = ranks.first_error(error)
        # torchrun sends it now, and it must not raise while Python exits
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if first.rank != ranks.rank:
            raise SystemExit(first.code) from error
        if is_lost_connection(error):
            raise RunFailed(first.sentence) from error
        raise
    dist.destroy_process_group()


def _connect(timeout: timedelta) -> Ranks:
    # NCCL can't send from the CPU's memory
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=timeout))
        # torchrun keeps its store when it starts the ranks again; without a prefix they'd find the dead
        # ones' addresses
        store = PrefixStore(
            f"restart {os.environ.get('TORCHELASTIC_RESTART_COUNT')} of {world_size}", store
        )
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"no connection to the other ranks: {str(error).splitlines()[0]}; start with torchrun"
        ) from error
    return Ranks(
        rank, world_size, PrefixStore("harness", store), dist.new_group(backend="gloo", timeout=timeout)
    )


def _end_when_parent_ends(parent: int) -> None:
    """A killed torchrun can't end its ranks, and these would wait for each other or train without
    it.
    """
    with suppress(psutil.NoSuchProcess):
        psutil.Process(parent).wait()
    os.kill(os.getpid(), signal.SIGTERM)


def is_lost_connection(error: BaseException) -> bool:
    """Whether a collective failed because another rank is gone or does not answer."""
    if isinstance(error, dist.DistNetworkError | dist.DistBackendError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in said for words in ("connection closed", "connection reset", "timed out", "broken pipe")
    )


def exit_code(error: BaseException) -> int:
    """The exit code of an error that ended a rank."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return error.exit_code if isinstance(error, HarnessError) else RunFailed.exit_code
