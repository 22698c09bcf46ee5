"""The peak of the GPU memory that torch's tensors held in one run."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def reset_peak_gpu_memory(*devices: torch.device | str) -> None:
    """Reset torch's peak memory, so that it counts from the start of the run."""
    for gpu in _gpus(devices):
        torch.cuda.reset_peak_memory_stats(gpu)


def peak_gpu_mib(*devices: torch.device | str) -> float | None:
    """The most memory in MiB that torch's tensors held on one of the run's own GPUs since the reset;
    None on a CPU.
    """
    peaks = [torch.cuda.max_memory_allocated(gpu) for gpu in _gpus(devices)]
    return round(max(peaks) / 2**20, 1) if peaks else None


def _gpus(devices: Iterable[torch.device | str]) -> list[torch.device]:
    return [gpu for gpu in map(torch.device, devices) if gpu.type == "cuda"]
