"""Published training and inference speeds of AlexNet since 2012, with what each of them timed."""

from __future__ import annotations

from harness.published.load import read
from harness.published.schema import Speed


def speeds() -> tuple[Speed, ...]:
    """Every published speed, oldest first.

    Throughput is images per second over all devices of the machine.
    """
    rows: tuple[Speed, ...] = read("speeds", tuple[Speed, ...])
    return tuple(sorted(rows, key=lambda row: row.year))


def history() -> list[Speed]:
    """The published speeds that the report shows: training speeds, one or two for each generation of
    hardware.

    They differ in network, precision and in what was timed (`timed`), so only orders of magnitude can
    be compared.
    """
    return [row for row in speeds() if row.headline]
