"""Lists the GPUs for a study's workers by UUID, as CUDA_VISIBLE_DEVICES accepts them. Uses NVML, never CUDA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from harness.probes.base import Unavailable
from harness.probes.nvml import connect


def visible_gpus(environ: Mapping[str, str] = os.environ, *, nvml: Any = None) -> list[str]:
    """UUIDs of the GPUs that this process may use; empty if NVML finds none.

    A process that uses CUDA for this would hold a context, and so memory, on every GPU until it ends.
    nvml: a replacement of the module, for tests.
    """
    try:
        probe = connect(environ, nvml=nvml)
    except Unavailable:
        return []
    with probe:
        return probe.readable_uuids()
