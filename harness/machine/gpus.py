"""Which GPUs a study's workers may use, by the names that CUDA_VISIBLE_DEVICES takes; asks NVML, never CUDA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from harness.probes.base import Unavailable
from harness.probes.nvml import connect


def visible_gpus(environ: Mapping[str, str] = os.environ, *, nvml: Any = None) -> list[str]:
    """UUIDs of the GPUs that this process may use; none where NVML knows of none.

    A process that asks CUDA itself holds a context, and memory, on every GPU it asks for as long as it lives.
    nvml: a double of the module, for tests.
    """
    try:
        probe = connect(environ, nvml=nvml)
    except Unavailable:
        return []
    with probe:
        return probe.readable_uuids()
