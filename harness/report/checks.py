"""Checks of each run before its numbers are believed: did it learn, was it evaluated whole, is it a
run of its own?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

from harness.events import Event, StepsDone, TrainingDone
from harness.records.store import RunRecord
from harness.report.cached import CachedRecord
from harness.report.stats import no_better_than_guessing
from variants.values import value

# of ln(classes); the loss of a network that does not learn stays within about half of that
LOSS_MARGIN = 0.02
NOT_RECORDED = "not recorded"


@value
class Check:
    """One check of the finished runs. runs: those that have what it needs. failed: (run_id, what is
    wrong).
    """

    says: str
    runs: int
    failed: tuple[tuple[str, str], ...]


def checks(records: Sequence[CachedRecord]) -> tuple[Check, ...]:
    """Every check on the finished runs among the records. Empty without any."""
    finished = [record for record in records if record.summary.status == "ok"]
    if not finished:
        return ()
    found: dict[str, list[tuple[str, str | None]]] = {says: [] for says, _ in EACH}
    for record in finished:
        events = record.events()
        for says, wrong in EACH:
            reason = wrong(record, events)
            found[says] += [] if reason == NOT_RECORDED else [(record.run_id, reason)]
    made = (
        Check(
            says=says,
            runs=len(told),
            failed=tuple((run_id, reason) for run_id, reason in told if reason),
        )
        for says, told in found.items()
    )
    return (*made, _different_seeds(finished))


def _loss_fell(record: RunRecord, events: Sequence[Event]) -> str | None:
    guessing = log(record.spec.data.classes)
    last = record.summary.final_train_loss
    if last is None or record.spec.recipe.loss.smoothing or record.spec.recipe.loss.box_weight:
        return None  # the loss has other parts
    return (
        None if last < (1 - LOSS_MARGIN) * guessing else f"{last:.3f}, and guessing has {guessing:.3f}"
    )


def _beats_guessing(record: RunRecord, events: Sequence[Event]) -> str | None:
    bad = [
        name
        for name, found in record.summary.results.items()
        if no_better_than_guessing(found.top1_error, found.images, record.spec.data.classes)
    ]
    return f"under {', '.join(bad)}" if bad else None


def _every_image_once(record: RunRecord, events: Sequence[Event]) -> str | None:
    wanted = record.spec.data.val_images
    odd = {
        name: found.images for name, found in record.summary.results.items() if found.images != wanted
    }
    return f"{odd} of {wanted}" if odd else None


def _every_loss(record: RunRecord, events: Sequence[Event]) -> str | None:
    """A resumed run has the losses of both parts; steps that were repeated count once."""
    steps: set[int] = set()
    for event in events:
        if isinstance(event, StepsDone):
            steps |= set(range(event.last_step - len(event.losses) + 1, event.last_step + 1))
    missing = record.summary.steps - len(steps)
    return f"{missing} of {record.summary.steps} steps have none" if missing else None


def _weights_moved(record: RunRecord, events: Sequence[Event]) -> str | None:
    still = next((event.unchanged for event in events if isinstance(event, TrainingDone)), None)
    return NOT_RECORDED if still is None else ", ".join(still) or None


EACH: tuple[tuple[str, Callable[[RunRecord, Sequence[Event]], str | None]], ...] = (
    ("The training loss fell below that of guessing, ln(classes).", _loss_fell),
    ("The error is lower than that of guessing.", _beats_guessing),
    ("Every validation image was evaluated once.", _every_image_once),
    ("Every training step has a finite loss.", _every_loss),
    ("Every weight and bias changed in training.", _weights_moved),
)


def _different_seeds(records: Sequence[CachedRecord]) -> Check:
    """Two seeds with the same answers to every image are one run, sealed twice."""
    answers: dict[tuple[str, bytes], CachedRecord] = {}
    failed = []
    for record in records:
        protocol = next(iter(record.summary.results))
        key = (
            record.spec.variant,
            record.correct(protocol, 1).tobytes() + record.correct(protocol, 5).tobytes(),
        )
        twin = answers.setdefault(key, record)
        if twin.spec.seed != record.spec.seed:
            failed.append((record.run_id, f"the same as seed {twin.spec.seed}"))
    return Check(
        says="Runs with different seeds differ in their answers.",
        runs=len(records),
        failed=tuple(failed),
    )
