"""Estimates the memory of a run on the CPU from its spec, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from harness.resolve import RunRequest, check_request
from harness.set_up import EVALUATION_BATCH
from variants.geometry import spec_for
from variants.spec import AlexNetSpec

FLOAT = 4  # bytes
MIB = 1 << 20
LIBRARIES_MIB = 650  # Python with torch loaded
LOADER_MIB = 1000  # FFCV's compiled code, its buffers, and a small data set in the page cache
COPIES_OF_PARAMETERS = 4  # weights, gradients, velocities, and a temporary copy in the update
CLASSES = 1000  # of the largest data set


def run_mib(net: AlexNetSpec, batch_size: int) -> int:
    """MiB of resident memory that a run is expected to need at most, in training and in its evaluation.

    In training: parameters x (weights, gradients, velocities, one temporary copy), the activations of
    all layers for one batch, the gradients of the two largest, and the batch. In evaluation: twice the
    input and output of the largest layer, since LRN also needs squares and their sums. The libraries
    and the loader are added to both.

    Measured peaks (resident memory, one thread, float32) of grouped_2gpu: mini, batch 64: 802 MiB on
    synthetic images and 1,650 MiB with FFCV; the estimate is 1,759 MiB. Full size, batch 128, 10
    classes, synthetic images, 32 steps with validations: 2,455 MiB; the estimate is 3,816. The page
    cache of a large data set is not counted, since the system frees it when necessary.
    """
    outputs = sorted((prod(row.output) for row in net.rows), reverse=True)
    image = prod(net.rows[0].input)
    training = batch_size * (sum(outputs) + sum(outputs[:2]) + image)
    evaluation = EVALUATION_BATCH * 2 * max(prod(row.input) + prod(row.output) for row in net.rows)
    floats = COPIES_OF_PARAMETERS * net.parameters + max(training, evaluation)
    return LIBRARIES_MIB + LOADER_MIB + ceil(floats * FLOAT / MIB)


def largest_run_mib(requests: Sequence[RunRequest]) -> int:
    """The largest `run_mib` of several runs. Raises UsageError for a request with an unknown name."""
    needed = []
    for request in requests:
        variant, recipe, geometry = check_request(request)
        needed.append(run_mib(spec_for(variant, geometry, CLASSES), recipe.batch_size))
    return max(needed)
