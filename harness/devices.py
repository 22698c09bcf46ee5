"""Which device, threads and workers a run gets, and how a study shares a machine between its runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from harness.errors import UsageError
from harness.limits import memory_limit_mib, usable_cores
from harness.machine.hardware import visible_gpus
from harness.placement import LoaderName, Placement
from harness.studies.workers import Variables
from variants.columns import Layout

MOST_WORKERS = 12


def run_placement(
    device: str,
    threads: int | None,
    workers: int | None,
    loader: LoaderName,
    environ: Mapping[str, str] = os.environ,
    layout: Layout = "one_device",
) -> Placement:
    """The placement from the command line's options. Raises UsageError for a device that can't be used.

    workers: of the loader; None: one on the CPU, whose cores compute, and `loader_workers` on a GPU.
    environ: torchrun's variables. Each rank uses cuda:LOCAL_RANK, or its part of the machine's cores.
    layout: two towers in one process are on cuda:0 and cuda:1 if `device` does not name one GPU; else
    both are on `device`. Of two ranks, each has one tower on its own device.
    """
    local_ranks = int(environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in environ:
        device = f"cuda:{environ['LOCAL_RANK']}"
    elif device.startswith("cuda:") and local_ranks > 1:
        raise UsageError(
            f"{local_ranks} ranks can't share '{device}'; with --device cuda each rank has its own GPU"
        )
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"no device '{device}'; use cpu, cuda, cuda:1 and so on, or auto")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device '{device}' can't be used: {str(error).splitlines()[0]}; use --device cpu"
        ) from error
    cores = usable_cores() // local_ranks
    threads = threads or max(1, cores)
    workers = workers or (1 if device == "cpu" else loader_workers(cores))
    placement = Placement(device=device, threads=threads, workers=workers, loader=loader)
    if layout == "one_device" or int(environ.get("WORLD_SIZE", "1")) > 1:
        return placement
    if device == "cuda" and torch.cuda.device_count() > 1:
        return replace(placement, device="cuda:0", second_device="cuda:1")
    return replace(placement, second_device=device)


def loader_workers(cores: int) -> int:
    """How many workers load images with so many cores. With many more than 12, a batch takes longer."""
    return max(1, min(MOST_WORKERS, cores))


def study_placement(
    device: str,
    jobs: int | None,
    loader: LoaderName,
    gpus: Sequence[str] | None = None,
    *,
    run_mib: int,
) -> tuple[Placement, Sequence[Variables]]:
    """How each run of a study computes, and the environment of each worker: one for each run at a time.

    Each worker sees one GPU only ("cuda" and "auto": all visible GPUs are used; "cuda:1": that one), so
    that this process and the other workers use no memory on it. jobs: runs at a time on each GPU, or on
    the CPU; None: one per GPU, and on the CPU as many as cores and memory allow. gpus: UUIDs of the
    GPUs, for tests.
    run_mib: memory of the largest run (harness.memory).
    """
    gpus = visible_gpus() if gpus is None else gpus
    kind, _, index = device.partition(":")
    if kind in ("cuda", "auto") and gpus:
        chosen = gpus if not index else gpus[int(index) : int(index) + 1] if index.isdecimal() else []
        if not chosen:
            raise UsageError(
                f"there is no device '{device}'; cuda:0 to cuda:{len(gpus) - 1} are visible"
            )
        environments = [{"CUDA_VISIBLE_DEVICES": gpu} for _ in range(jobs or 1) for gpu in chosen]
        # one core of each run launches GPU kernels
        workers = loader_workers(usable_cores() // len(environments) - 1)
        where = Placement(
            device="cuda", threads=usable_cores(), workers=workers, loader=loader, concurrent=jobs or 1
        )
        return where, environments
    where = run_placement(device, None, 1, loader)
    jobs = jobs or max(1, min(usable_cores(), memory_limit_mib() // run_mib))
    return replace(where, threads=max(1, usable_cores() // jobs), concurrent=jobs), [
        {} for _ in range(jobs)
    ]
