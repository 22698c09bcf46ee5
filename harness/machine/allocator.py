"""Memory that training frees stays with the process: glibc would give it back and ask for it again at every step."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
THRESHOLD_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; False where the C library has no mallopt.

    A training step frees and allocates the same tensors again. By default glibc unmaps the large ones, so that each
    step touches fresh pages. No arithmetic changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, THRESHOLD_BYTES) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
