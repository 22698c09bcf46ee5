"""Append-only JSON lines: written in batches, at most one torn line after a kill, read back with
limits.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import RecordError
from harness.records.files import open_plain, writing

FLUSH_S = 1.0
LINE_LIMIT = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
FILE_LIMIT = 2 << 30  # two probes at 1 Hz for a month


class LineWriter:
    """Lines gather in memory and reach the file at most once in FLUSH_S, so that a step pays no system
    call.

    While the disk is full they wait in memory: `write` passes over it, only `flush` raises RecordError.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self._waiting: list[str] = []
        self._size = path.stat().st_size if path.exists() else 0
        self._flushed_at = clock()
        self._lock = threading.Lock()  # events come from the run, samples from a probe's thread

    def write(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line)
            if self._clock() - self._flushed_at >= FLUSH_S:
                try:
                    self._flush()
                except RecordError as error:
                    if getattr(error.__cause__, "errno", None) not in FULL:
                        raise

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        """Writes at a known place: a flush that a signal or a full disk broke off is written over by
        the next one.
        """
        self._flushed_at = self._clock()
        if not self._waiting:
            return
        content = "".join(f"{line}\n" for line in self._waiting).encode()
        with writing(self.path):
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                done = 0
                while done < len(content):
                    done += os.pwrite(handle, content[done:], self._size + done)
            finally:
                os.close(handle)
        size = self._size + len(content)
        self._size, self._waiting = size, []  # no call between the two, so no signal either


def read_lines(path: Path, *, torn_end_allowed: bool) -> Iterator[bytes]:
    """The lines of a file, one by one, none if it doesn't exist.

    A torn last line is dropped or refused.
    """
    if not path.exists():
        return
    left = FILE_LIMIT
    with open_plain(path) as file:
        while line := file.readline(LINE_LIMIT + 1):
            left -= len(line)
            if len(line) > LINE_LIMIT or left < 0:
                raise RecordError(
                    f"{path} has a line over {LINE_LIMIT} bytes, or over {FILE_LIMIT} bytes in all"
                )
            if line.endswith(b"\n"):
                yield line
            elif not torn_end_allowed:
                raise RecordError(f"{path} ends in the middle of a line: it was cut")
