"""Sets the precision of a run (Recipe.precision), for training and evaluation.

    fp32  float32 everywhere; TF32 is off in matrix products and in cuDNN's convolutions
    tf32  float32 tensors; matrix products and convolutions may round their inputs to TF32 (10 bits of mantissa)
    bf16  torch.autocast to bfloat16 for the forward pass; what stays in float32 has TF32 off

TF32 needs a GPU that supports it. On a CPU, oneDNN decides what float32_matmul_precision "high" means.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from variants.recipes.recipe import Precision


@contextmanager
def float32_precision(precision: Precision) -> Iterator[None]:
    """Set torch's TF32 flags for a run, and restore them afterwards for the next run in this
    process.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), matmul.allow_tf32, cudnn.allow_tf32
    allowed = precision == "tf32"
    try:
        _set_flags("high" if allowed else "highest", allowed, allowed)
        yield
    finally:
        _set_flags(*before)


def autocast(precision: Precision, device: torch.device) -> torch.autocast | nullcontext[None]:
    """The context manager for a forward pass: torch.autocast for "bf16", else one that does nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _set_flags(float32_matmul: str, matmul_tf32: bool, cudnn_tf32: bool) -> None:
    torch.set_float32_matmul_precision(float32_matmul)
    torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
