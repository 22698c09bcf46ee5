"""How long work reports how far it is. Apart from base.py, since writer processes and `--help` should load no torch."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on: `what` is a short label, `done` of `total` items (None where unknown)."""

    def __call__(self, what: str, done: int, total: int | None) -> None: ...


def silent(what: str, done: int, total: int | None) -> None:
    """The Progress that shows nothing."""
