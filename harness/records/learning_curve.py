"""The error on the training set over the epochs, and how many epochs a run needed to get below a
threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from harness.errors import NOT_FINITE
from harness.events import Evaluated
from harness.records.record import RunRecord
from variants.values import value


@value
class Point:
    """The top-1 error on the whole training set after `epoch` epochs, a fraction."""

    epoch: float
    error: float


@value
class Reached:
    """When a run got below a threshold of the training error.

    epochs: interpolated between two evaluations; None where the run ended above the threshold (it is
    censored).
    last_epoch, last_error: of the last evaluation. A run whose loss was no longer finite has error 1.
    """

    epochs: float | None
    last_epoch: float
    last_error: float


def training_curve(record: RunRecord) -> tuple[Point, ...]:
    """The evaluations on the training set, in order. Needs a recipe with evaluation.training_error."""
    found = [
        event for event in record.events() if isinstance(event, Evaluated) and event.split == "train"
    ]
    return tuple(Point(epoch=event.epoch, error=event.top1_error) for event in found)


def diverged(record: RunRecord) -> bool:
    """Whether the run failed because its loss was no longer finite. The same run would fail again."""
    reason = record.summary.status_reason or ""
    return record.summary.status == "failed" and reason.startswith(NOT_FINITE)


def reached(record: RunRecord, threshold: float) -> Reached:
    """When the training error of a run first fell below `threshold`, a fraction. Before training it is
    that of guessing.
    """
    start = Point(epoch=0.0, error=1.0 - 1.0 / record.spec.data.classes)
    curve = (start, *training_curve(record))
    if diverged(record):
        return Reached(epochs=None, last_epoch=curve[-1].epoch, last_error=1.0)
    return Reached(
        epochs=crossing(curve, threshold), last_epoch=curve[-1].epoch, last_error=curve[-1].error
    )


def crossing(curve: Sequence[Point], threshold: float) -> float | None:
    """The epoch at which the straight lines between the points first fall below the threshold; None
    if they don't.
    """
    for before, now in pairwise(curve):
        if now.error < threshold <= before.error:
            share = (before.error - threshold) / (before.error - now.error)
            return before.epoch + share * (now.epoch - before.epoch)
    return None


def order(result: Reached) -> tuple[bool, float]:
    """Sorts by epochs to the threshold; runs that did not reach it come after, by their last
    training error.
    """
    return (result.epochs is None, result.last_error if result.epochs is None else result.epochs)
