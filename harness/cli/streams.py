"""Output streams that never raise: a closed pipe, a full disk or a limited encoding does not end a
run.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO


class Forgiving:
    """A text stream that drops text which its target can't write.

    All other attributes are the target's.
    """

    def __init__(self, target: TextIO) -> None:
        self._target = target

    def write(self, text: str) -> int:
        try:
            return self._target.write(text)
        except (OSError, ValueError):  # ValueError: closed
            return len(text)

    def flush(self) -> None:
        try:
            self._target.flush()
        except (OSError, ValueError):
            return

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def forgive_streams() -> None:
    """Wrap stderr, which shows progress.

    Both streams print `?` for characters that their encoding lacks.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if not isinstance(sys.stderr, Forgiving):
        sys.stderr = Forgiving(sys.stderr)


def printable(sentence: str) -> str:
    """The sentence with control characters escaped, such as a line break in the name of a file."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in sentence)
