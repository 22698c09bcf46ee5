"""Compiles loops over float32 arrays with numba, which is optional, and runs them in as many threads as
torch uses.

Fused multiply-add is not allowed, so the bits are the same on every processor and for every number of
threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

INSTALLED = find_spec("numba") is not None
Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Kernel: TypeAlias = Callable[..., None]
LEAST_TO_SPLIT = 1 << 18  # floats; a smaller tensor is finished before a second thread has started
HALVES = (torch.bfloat16, torch.float16)
HALVES_AT_A_TIME = 1 << 21  # numbers of half precision that are converted at a time


def compiled(function: Kernel, *arguments: str) -> Kernel | None:
    """The function as machine code, kept in numba's cache; None where numba is not installed.

    arguments: the kind of each: "read" or "write" for a flat array, "table" for one of two dimensions
    that is read, "images" or "images out" for one of three, (N, H, W * C), "bytes" or "bytes out" for
    such an array of uint8, "float" (32 bits) or "int" (64 bits). A function must not call another
    compiled one: numba's cache would not find it again in the next process. So kernels repeat a few
    loops.
    """
    try:
        numba: Any = import_module("numba")  # slow to import, and optional
    except ImportError:
        return None
    types = numba.types
    kinds = {
        "read": types.Array(types.float32, 1, "C", readonly=True),
        "write": types.float32[::1],
        "table": types.Array(types.float32, 2, "C", readonly=True),
        "images": types.Array(types.float32, 3, "C", readonly=True),
        "images out": types.float32[:, :, ::1],
        "bytes": types.Array(types.uint8, 3, "C", readonly=True),
        "bytes out": types.uint8[:, :, ::1],
        "float": types.float32,
        "int": types.int64,
    }
    signature = types.void(*(kinds[argument] for argument in arguments))
    options = {"nogil": True, "error_model": "numpy"}
    try:
        made: Kernel = numba.njit(signature, cache=True, **options)(function)
    except RuntimeError:  # numba found no writable folder for its cache
        made = numba.njit(signature, **options)(function)
    return made


def takes(x: Tensor) -> bool:
    """Whether kernels can work on the tensor: float32 or half precision, channels_last, on the CPU, not
    empty.
    """
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, *HALVES)
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > 0
    )


def run(kernel: Kernel, unit: int, *tensors: Tensor) -> None:
    """Run `kernel` on flat arrays of the tensors' values in the order (N, H, W, C), in as many threads
    as torch uses. It writes to the last one.

    Each thread's part starts at a multiple of `unit` floats. Half precision is converted, a few images
    at a time: the kernel computes in float32, and its result is rounded once.
    """
    if tensors[-1].dtype == torch.float32:
        _run_in_threads(kernel, unit, tensors)
        return
    images = max(1, HALVES_AT_A_TIME // tensors[-1][0].numel())
    for *read, out in zip(*(torch.split(tensor.detach(), images) for tensor in tensors), strict=True):
        wide = torch.empty_like(out, dtype=torch.float32)
        _run_in_threads(kernel, unit, (*(tensor.float() for tensor in read), wide))
        out.copy_(wide)


def run_by_images(kernel: Kernel, *tensors: Tensor) -> None:
    """As `run`, on arrays (N, H, W * C) of float32 or uint8, whose sizes but N may differ. Each thread
    does some of the images.
    """
    arrays = [tensor.detach().permute(0, 2, 3, 1).flatten(2).numpy() for tensor in tensors]
    _in_threads(kernel, 1, tensors[0].numel(), arrays)


def _run_in_threads(kernel: Kernel, unit: int, tensors: tuple[Tensor, ...]) -> None:
    flat = [tensor.detach().permute(0, 2, 3, 1).reshape(-1).numpy() for tensor in tensors]
    _in_threads(kernel, unit, len(flat[0]), flat)


def _in_threads(kernel: Kernel, unit: int, floats: int, arrays: list[Any]) -> None:
    threads, length = torch.get_num_threads(), len(arrays[0])
    if threads == 1 or floats < LEAST_TO_SPLIT:
        kernel(*arrays)
        return
    step = -(-length // (threads * unit)) * unit
    starts = range(0, length, step)
    list(
        _pool(threads).map(
            lambda start: kernel(*(array[start : start + step] for array in arrays)), starts
        )
    )


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")
