"""Turns errors of a device and of its memory into sentences that say what to do.

After most CUDA errors the process can't use its GPU any more, so a worker of a study ends after
DeviceLost (harness/studies/workers.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, prod

import torch
from torch.distributed import DistError

from harness.errors import DeviceLost, RunFailed
from harness.limits import MIB, memory_limit_mib
from harness.machine.environment import UsedGpu
from harness.placement import Placement
from harness.set_up import EVALUATION_BATCH
from harness.spec import RunSpec
from variants.recipes.recipe import Precision
from variants.spec import AlexNetSpec

FLOAT = 4  # bytes
COPIES_OF_PARAMETERS = 4  # weights, gradients, velocities, and a temporary copy in the update
# a batch is proposed if its estimate is below this fraction of the memory; cuDNN needs some, too
USABLE = 0.8
LOST = ("cuda error", "cuda driver error", "cuda unknown error", "cudnn error", "no cuda gpus are",
        "found no nvidia driver")  # fmt: skip
NO_ROOM = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")


def tensors_mib(net: AlexNetSpec, batch_size: int, precision: Precision = "fp32") -> int:
    """MiB of the tensors of a run: the larger one of training and evaluation.

    In training: parameters x (weights, gradients, velocities, one temporary copy), the activations of
    all layers for one batch, the gradients of the two largest, and the batch. In evaluation: twice the
    input and output of the largest layer, since LRN also needs squares and their sums. Activations in
    bf16 take half. In evaluation some stay in float32, so it is counted in full.
    """
    outputs = sorted((prod(row.output) for row in net.rows), reverse=True)
    activations = batch_size * (sum(outputs) + sum(outputs[:2]))
    training = activations / (2 if precision == "bf16" else 1) + batch_size * prod(net.rows[0].input)
    evaluation = EVALUATION_BATCH * 2 * max(prod(row.input) + prod(row.output) for row in net.rows)
    floats = COPIES_OF_PARAMETERS * net.parameters + max(training, evaluation)
    return ceil(floats * FLOAT / MIB)


@contextmanager
def device_errors(spec: RunSpec, where: Placement, used: Sequence[UsedGpu] = ()) -> Iterator[None]:
    """Raise RunFailed for a lack of memory within the block, and DeviceLost for another error of CUDA.

    used: the GPUs of the run as torch names them, if they are known.
    """
    try:
        yield
    except DistError:  # of another rank, or of the connection to it
        raise
    except (RuntimeError, MemoryError) as error:  # torch's errors are RuntimeErrors
        said = str(error).lower()
        device = _named(where, used)
        if isinstance(error, MemoryError) or any(words in said for words in NO_ROOM):
            raise RunFailed(_what_fits(spec, where, device)) from error
        if any(words in said for words in LOST):
            reason = str(error).splitlines()[0].removeprefix("CUDA error: ")
            raise DeviceLost(
                f"{device} failed: {reason}; look for its errors with nvidia-smi and dmesg, restart "
                "its driver or leave it out with CUDA_VISIBLE_DEVICES, and repeat the command, which "
                "resumes from the last checkpoint"
            ) from error
        raise


def _named(where: Placement, used: Sequence[UsedGpu]) -> str:
    """Such as "cuda:1 (NVIDIA H100, GPU-1a2b)": several workers of a study have a "cuda" each."""
    parts = [part for gpu in used for part in (gpu.name, gpu.uuid) if part]
    return " and ".join(where.devices) + (f" ({', '.join(parts)})" if parts else "")


def _what_fits(spec: RunSpec, where: Placement, device: str) -> str:
    """What was needed and what there is, by the estimate, and what to change."""
    net, rules, free_mib = spec.net, spec.recipe, _free_mib(where)
    needed = tensors_mib(net, rules.batch_size, rules.precision)
    start = (
        f"out of memory on {device}: a batch of {rules.batch_size} images in {rules.precision} needs "
        f"about {needed:,} MiB, and {free_mib:,} MiB are free for it"
    )
    fits = [
        2**power
        for power in range(rules.batch_size.bit_length() - 1)
        if tensors_mib(net, 2**power, rules.precision) <= USABLE * free_mib
    ]
    ways = [f"--set batch_size={fits[-1]}"] if fits else []
    if rules.precision != "bf16":
        halved = tensors_mib(net, rules.batch_size, "bf16")
        ways.append(f"--set precision=bf16 (about {halved:,} MiB)")
    if rules.batch_size > 1 and spec.world_size == 1 and where.device.startswith("cuda"):
        ways.append("several GPUs by torchrun, which divides the batch")
    return f"{start}; use {', or '.join(ways)}" if ways else f"{start}; use a device with more memory"


def _free_mib(where: Placement) -> int:
    """Memory for this run's tensors: of the fullest of its GPUs, or of this machine."""
    if not where.device.startswith("cuda"):
        return memory_limit_mib()
    return min(
        (torch.cuda.mem_get_info(gpu)[0] + torch.cuda.memory_reserved(gpu)) // MIB
        for gpu in where.devices
    )
