"""Keeps freed memory in the process: by default glibc returns it to the system and requests it again
at every step.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
THRESHOLD_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; returns False if the C library has no mallopt.

    Each training step allocates and frees tensors of the same sizes. By default glibc unmaps large
    ones, so that each step causes new page faults. No arithmetic changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, THRESHOLD_BYTES) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))
