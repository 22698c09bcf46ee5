"""Starts the ranks of a test as processes that have torch loaded already, and returns what each of them found."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch.distributed as dist

from harness.distributed.ranks import join

LIMIT_S = 60.0
CONTEXT = multiprocessing.get_context("forkserver")
# which use_deterministic_algorithms imports: 3 s
CONTEXT.set_forkserver_preload(["harness.cli.app", "tasks", "torch._inductor"])


def run_ranks(
    world_size: int,
    work: Callable[..., Any],
    *arguments: Any,
    timeout_s: float = 30.0,
    joined: bool = True,
) -> list[Any]:
    """What `work(ranks, *arguments)` returns on each rank, or its exception as a string "ExceptionName: sentence".

    None for a rank that left no answer. The store is this process's, as it is torchrun's in a real run.
    joined: whether the ranks are joined before; else it is `work(rank, *arguments)` that joins them.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    pipes, processes = [], []
    for rank in range(world_size):
        environ = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0", "GLOO_SOCKET_IFNAME": "lo",
        }  # fmt: skip
        mine, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(
            target=_answer,
            args=(theirs, environ, timeout_s if joined else None, work, arguments),
            daemon=True,
        )
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    found = [_received(pipe) for pipe in pipes]
    for process in processes:
        process.join(LIMIT_S)
        assert process.exitcode is not None, "a rank hangs"
    return found


def _received(pipe: Connection) -> Any:
    try:
        assert wait([pipe], LIMIT_S), "a rank hangs"
        return pipe.recv()
    except EOFError:
        return None


def _answer(
    pipe: Connection,
    environ: dict[str, str],
    timeout_s: float | None,
    work: Any,
    arguments: tuple[Any, ...],
) -> None:
    os.environ.update(environ)
    try:
        if timeout_s is None:
            found = work(int(environ["RANK"]), *arguments)
        else:
            with join(timeout_s=timeout_s) as ranks:
                found = work(ranks, *arguments)
    except BaseException as error:
        found = f"{type(error).__name__}: {error}"
    pipe.send(found)
