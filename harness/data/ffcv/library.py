"""FFCV imported without what importing it does to a process: the one door through which the harness uses it.

Stock FFCV 1.0.2, on import, sets torch's threads to 1, and every loader sets them again: here they stay training's.
It compiles a numba dictionary (4 CPU seconds): under DISABLE_JIT that is a plain dict. Our pipelines are numpy and one
compiled kernel (ffcv_ops.py), so FFCV's own just-in-time compiler is off, and with it its noise on stderr. It makes
CUDA streams for stages on the GPU: we have none there.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numba
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBA: Any = numba.config


@contextmanager
def _nothing_changed() -> Iterator[None]:
    threads, jit_off = torch.get_num_threads(), _NUMBA.DISABLE_JIT
    _NUMBA.DISABLE_JIT = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # FFCV imports distutils
            yield
    finally:
        _NUMBA.DISABLE_JIT = jit_off
        torch.set_num_threads(threads)


with _nothing_changed():
    from ffcv import types as layout
    from ffcv.fields import FloatField, IntField, RGBImageField
    from ffcv.fields.rgb_image import IMAGE_MODES
    from ffcv.libffcv import imdecode
    from ffcv.loader import Loader, epoch_iterator
    from ffcv.pipeline.compiler import Compiler
    from ffcv.pipeline.operation import Operation
    from ffcv.pipeline.pipeline_spec import PipelineSpec
    from ffcv.reader import Reader
    from ffcv.traversal_order.base import TraversalOrder


def _remember_threads(cls: Any, n: int) -> None:
    cls.num_threads = n


Compiler.set_num_threads = classmethod(_remember_threads)
Compiler.set_enabled(False)
epoch_iterator.IS_CUDA = False

__all__ = [
    "IMAGE_MODES",
    "FloatField",
    "IntField",
    "Loader",
    "Operation",
    "PipelineSpec",
    "RGBImageField",
    "Reader",
    "TraversalOrder",
    "imdecode",
    "layout",
]
