"""Work that is repeated until a window is long enough to be timed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def finish(device: torch.device) -> None:
    """Wait for a GPU to end its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def as_often_as_fits(
    work: Callable[[], object], seconds: float, device: torch.device, images: int = 1
) -> Callable[[], int]:
    """A window that does `work` as often as takes about `seconds`, and returns how often, times `images`.

    This calls `work` twice, the first time to set things up.
    """
    work()
    finish(device)
    started_s = time.perf_counter()
    work()
    finish(device)
    times = max(1, round(seconds / max(time.perf_counter() - started_s, 1e-6)))

    def window() -> int:
        for _ in range(times):
            work()
        finish(device)
        return times * images

    return window
