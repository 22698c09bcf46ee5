"""The peak of the GPU memory that torch's tensors held in one run."""

from __future__ import annotations

import torch


def reset_peak_gpu_memory(device: torch.device) -> None:
    """Reset torch's peak memory, so that it counts from the start of the run."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gpu_mib(device: torch.device) -> float | None:
    """The most memory in MiB that torch's tensors held on the run's own GPU since the reset; None on a CPU."""
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None
