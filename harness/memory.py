"""Estimates the memory of a run on the CPU from its spec, before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from harness.device_errors import tensors_mib
from harness.resolve import RunRequest, check_request
from variants.geometry import spec_for
from variants.spec import AlexNetSpec

LIBRARIES_MIB = 650  # Python with torch loaded
LOADER_MIB = 1000  # FFCV's compiled code, its buffers, and a small data set in the page cache
CLASSES = 1000  # of the largest data set


def run_mib(net: AlexNetSpec, batch_size: int) -> int:
    """MiB of resident memory that a run is expected to need at most, in training and in its evaluation.

    The tensors of training or evaluation, the libraries and the loader.

    Measured peaks (resident memory, one thread, float32) of grouped_2gpu: mini, batch 64: 802 MiB on
    synthetic images and 1,650 MiB with FFCV; the estimate is 1,759 MiB. Full size, batch 128, 10
    classes, synthetic images, 32 steps with validations: 2,455 MiB; the estimate is 3,816. The page
    cache of a large data set is not counted, since the system frees it when necessary.
    """
    return LIBRARIES_MIB + LOADER_MIB + tensors_mib(net, batch_size)


def largest_run_mib(requests: Sequence[RunRequest]) -> int:
    """The largest `run_mib` of several runs. Raises UsageError for a request with an unknown name."""
    needed = []
    for request in requests:
        variant, recipe, geometry = check_request(request)
        needed.append(run_mib(spec_for(variant, geometry, CLASSES), recipe.batch_size))
    return max(needed)
