"""Imports FFCV and numba without their side effects. All other modules get both from here.

FFCV 1.0.2 sets torch's number of threads to 1 when it is imported and in every loader; here the number
stays unchanged. It compiles a numba dictionary (4 CPU seconds); with DISABLE_JIT that is a plain dict.
Our pipelines use numpy and one compiled kernel (ops.py), so FFCV's just-in-time compiler and its
messages on stderr are switched off. FFCV makes CUDA streams for stages on the GPU, which we don't use.
numba keeps machine code beside the source file unless a variable says otherwise when it is imported;
here that is the cache folder.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.setup.cache import cache_folder

os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))  # read when numba is imported

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
    "numba",
]
