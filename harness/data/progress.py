"""The interface for progress reports.

It is not in base.py, since writer processes and `--help` should not load torch.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called during work: `what` is a short label; `done` of `total` items are finished (None:
    unknown).
    """

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


def silent(what: str, done: int, total: int | None) -> None:
    """The Progress that shows nothing."""
