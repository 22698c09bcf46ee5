"""Whether a net is about to leave this package: exported or traced, to run where our operations don't
exist.
"""

from __future__ import annotations

import torch

# torch's documentation has it there
from torch.jit import is_tracing  # type: ignore[attr-defined]


def leaves_this_package() -> bool:
    """Whether the net is being exported or traced; then its layers use operations of torch only.

    torch 2.11 says that it exports whenever torch.compile is at work, which then gets operations of
    torch, too.
    """
    return bool(torch.compiler.is_exporting() or is_tracing())  # type: ignore[no-untyped-call]
