"""A record that reads each of its files once per report, although many comparisons use them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.records.files import SUMS, read_whole
from harness.records.record import TEXT_LIMIT, RunRecord, Stamped


@dataclass(frozen=True)
class CachedRecord(RunRecord):
    """A RunRecord that keeps its events, packed bits (one bit per image) and checksum after the
    first read.
    """

    @classmethod
    def of(cls, record: RunRecord) -> CachedRecord:
        return (
            record
            if isinstance(record, cls)
            else cls(record.path, record.spec, record.env, record.summary)
        )

    @cached_property
    def _packed(self) -> dict[tuple[str, int], tuple[NDArray[np.uint8], int]]:
        return {}

    @cached_property
    def _timeline(self) -> list[Stamped]:
        return super().timeline()

    def timeline(self) -> list[Stamped]:
        """The events with their times.

        Checks, curves and the epochs to a training error all need them.
        """
        return self._timeline

    def correct(self, protocol: str, k: int) -> NDArray[np.bool_]:
        """(images,) bool: whether the label was among the k most probable classes.

        Reads the file at the first call only.
        """
        if (protocol, k) not in self._packed:
            answers = super().correct(protocol, k)
            self._packed[protocol, k] = np.packbits(answers), len(answers)
        packed, images = self._packed[protocol, k]
        return np.unpackbits(packed, count=images).astype(np.bool_)

    @cached_property
    def checksum(self) -> str:
        """sha256 of the record's SHA256SUMS, which lists the sha256 of every other file."""
        return hashlib.sha256(read_whole(self.path / SUMS, TEXT_LIMIT)).hexdigest()
