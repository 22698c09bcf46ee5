"""Runs tasks in parallel worker processes. A worker keeps torch and compiled loaders in memory between
runs.

For small nets two runs with one thread each are faster than one run with two threads, so a CPU with N
cores gets N workers. Each GPU gets its own worker, which sees no other GPU. If a worker dies, its run
is reported as failed and a new worker continues with the next run. So it is if a run's GPU fails; after
the second failure in a row on the same GPU its workers take no more runs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from harness.errors import DeviceLost, HarnessError
from harness.events import Event
from harness.signals import terminable, without_ctrl_c

Variables = Mapping[str, str]  # environment variables of a worker
# failures in a row: one may be a passing error, after which a new process can use the GPU again
FAILURES_OF_A_DEVICE = 2
ENDS_IN_S = 10.0  # a process may hang at its end if its GPU is gone


@dataclass(frozen=True)
class Started:
    """A worker has started task `task`."""

    task: int


@dataclass(frozen=True)
class Happened:
    """An event of task `task`."""

    task: int
    event: Event


@dataclass(frozen=True)
class Ended:
    """Task `task` has ended: `error` is None, or one sentence. device_lost: its device failed."""

    task: int
    error: str | None
    device_lost: bool = False


@dataclass(frozen=True)
class DeviceGivenUp:
    """A device has failed again and again; a worker with these variables takes no more tasks."""

    environment: Variables


News = Started | Happened | Ended | DeviceGivenUp


class Work(Protocol):
    """The function that a worker calls for each task; it must be importable by name, for spawn."""

    def __call__(self, task: Any, listen: Callable[[Event], None]) -> None: ...


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    environment: Variables
    task: int | None = None


def run_all(
    tasks: Sequence[Any],
    work: Work,
    environments: Sequence[Variables],
    may_start: Callable[[int], bool] = lambda task: True,
) -> Generator[News, None, None]:
    """Run the tasks in order, with one worker for each environment. `may_start` is called before each
    task.

    environments: variables of each worker in addition to this process's, such as CUDA_VISIBLE_DEVICES.
    Yields what happens. Closing the iterator (or an exception in its consumer) interrupts the workers,
    which seal their runs as interrupted, and waits for them.
    """
    queue = deque(range(len(tasks)))
    failures: Counter[str] = Counter()
    pool = [_start_worker(work, environment) for environment in environments[: len(tasks)]]
    try:
        for worker in pool:
            yield from _give_next_task(worker, queue, tasks, may_start)
        while busy := [worker for worker in pool if worker.task is not None]:
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(worker for worker in busy if worker.pipe is pipe)
                news = _read(worker)
                yield news
                if isinstance(news, Ended):
                    worker.task = None
                    device = str(sorted(worker.environment.items()))
                    failures[device] = failures[device] + 1 if news.device_lost else 0
                    if news.device_lost:
                        _end(worker)
                    if failures[device] >= FAILURES_OF_A_DEVICE:
                        yield DeviceGivenUp(worker.environment)
                        continue
                    if not worker.process.is_alive():
                        pool[pool.index(worker)] = worker = _start_worker(work, worker.environment)
                    yield from _give_next_task(worker, queue, tasks, may_start)
    finally:
        _stop_workers(pool)


def _start_worker(work: Work, environment: Variables) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work_until_closed, args=(theirs, work), daemon=False)
    with without_ctrl_c(), _variables(environment):
        process.start()
    theirs.close()
    return _Worker(process, ours, environment)


@contextmanager
def _variables(environment: Variables) -> Iterator[None]:
    """Set variables of this process within the block; processes started in it inherit them."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text


def _give_next_task(
    worker: _Worker, queue: deque[int], tasks: Sequence[Any], may_start: Callable[[int], bool]
) -> Iterator[News]:
    while queue:
        task = queue.popleft()
        if may_start(task):
            worker.task = task
            with suppress(OSError):  # the worker has died; _read reports it
                worker.pipe.send((task, tasks[task]))
            yield Started(task)
            return


def _end(worker: _Worker) -> None:
    """Wait for a worker that ends by itself, but not for long."""
    worker.process.join(ENDS_IN_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _read(worker: _Worker) -> News:
    try:
        news: News = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        assert worker.task is not None
        return Ended(
            worker.task,
            f"its process ended with code {worker.process.exitcode} (out of memory, or killed)",
        )
    return news


def _stop_workers(pool: Sequence[_Worker]) -> None:
    for worker in pool:
        if worker.task is not None and worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, signal.SIGTERM)
        worker.pipe.close()
    for worker in pool:
        worker.process.join()


def work_until_closed(pipe: Connection, work: Work) -> None:
    """The main loop of a worker: get a task, run it, report, until the pipe closes.

    SIGTERM interrupts it; Ctrl-C doesn't.
    """
    try:
        with terminable():  # inside the try, since a signal may come at once
            threading.Thread(target=_end_when_parent_ends, daemon=True).start()
            while True:
                number, task = pipe.recv()
                ended = _ended(work, number, task, _sender(pipe, number))
                pipe.send(ended)
                if ended.device_lost:
                    return
    except (EOFError, OSError, KeyboardInterrupt):
        return
    finally:
        # a second signal must not raise while Python exits
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_when_parent_ends() -> None:
    """End this worker when its parent ends: a killed parent can't stop it, and its next event may be
    minutes away.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _sender(pipe: Connection, task: int) -> Callable[[Event], None]:
    return lambda event: pipe.send(Happened(task, event))


def _ended(work: Work, number: int, task: Any, listen: Callable[[Event], None]) -> Ended:
    """Do the task; how it ended."""
    try:
        work(task, listen)
    except HarnessError as error:
        return Ended(number, str(error), isinstance(error, DeviceLost))
    except Exception as error:
        return Ended(number, f"{type(error).__name__}: {error}")
    return Ended(number, None)
