"""How fast AlexNet was, from 2012 on: published speeds with what each clock enclosed."""

from __future__ import annotations

from harness.published.load import read
from harness.published.schema import Speed


def speeds() -> tuple[Speed, ...]:
    """Every published speed, oldest first. Throughput is images per second over all devices of the machine."""
    rows: tuple[Speed, ...] = read("speeds", tuple[Speed, ...])
    return tuple(sorted(rows, key=lambda row: row.year))


def history() -> list[Speed]:
    """The rows of the report's history strip: training speeds, one or two for each generation of machine.

    They differ in network, precision and in what was timed (`timed`), so they show an order of magnitude, not a race.
    """
    return [row for row in speeds() if row.headline]
