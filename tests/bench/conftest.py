"""What must be equal before two runs of the benchmarks are compared, and which source they are of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from harness.machine.collect_env import PACKAGES, VARIABLES, torch_settings, version
from harness.machine.git_state import source
from harness.machine.hardware import cpu
from harness.serialization import digest, to_plain


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Stored with every run; harness/bench/regressions.py reads both."""
    settings = torch_settings({})
    assert settings is not None
    machine_info["bench_key"] = {
        "cpu": to_plain(cpu()),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "python": machine_info["python_version"],
        "packages": {name: version(name) for name in PACKAGES},
        # a benchmark may leave other threads behind; the variables say how many there are at first
        "torch": [settings.cuda, settings.cudnn, settings.cpu_capability],
        "variables": {name: os.environ.get(name) for name in VARIABLES},
    }
    found = source(Path(__file__).resolve().parents[2], {})
    known = found is not None and not found.diff_cut and not found.untracked
    machine_info["source"] = digest(found) if known else None
