"""Which probes watch a run: the host always, the GPUs where the run uses them, a recorded trace where one is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.probes.base import Probe
from harness.probes.devices import Unavailable
from harness.probes.host import HostProbe
from harness.probes.nvml import NvmlProbe, open_nvml
from harness.probes.replay import ReplayProbe


def probes_for(device: str, *, replay: Path | None = None) -> tuple[list[Probe], dict[str, str]]:
    """The probes of a run on `device` ("cpu", "cuda", "cuda:1"), and why a kind is missing, by its name."""
    if replay is not None:
        return [HostProbe(), ReplayProbe(replay)], {"nvml": f"a recorded trace stands in: {replay.name}"}
    if device.startswith("cpu"):
        return [HostProbe()], {"nvml": "the run computes on the CPU"}
    try:
        return [HostProbe(), open_ours(os.environ)], {}
    except Unavailable as reason:
        return [HostProbe()], {"nvml": str(reason)}


def open_ours(environ: Mapping[str, str], nvml: Any = None) -> NvmlProbe:
    """The GPUs of this process: as CUDA names them if it runs already, else as the environment does."""
    visible, order = environ.get("CUDA_VISIBLE_DEVICES"), environ.get("CUDA_DEVICE_ORDER")
    return open_nvml(visible, uuids=_cuda_uuids(), order=order, nvml=nvml)


def _cuda_uuids() -> tuple[str, ...]:
    """Empty unless torch has CUDA running: it must not be started for this."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ()
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple(str(device.uuid) for device in found if hasattr(device, "uuid"))
