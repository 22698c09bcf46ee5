"""The fields of Summary that follow from a run's events and samples, of one that ended by itself or
was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from harness.events import Evaluated, Event, RunResumed, StepsDone, TrainingDone
from harness.pace import is_steady
from harness.probes.summary import Interval
from harness.records.record import Stamped

LAST_STEPS = 100  # the final training loss is the mean over these
NO_GPU = "the run used no GPU"


def summary_fields(
    past: Sequence[Stamped],
    watched: dict[str, dict[str, Any]],
    peak_gpu_mib: float | None,
    no_peak: str = NO_GPU,
) -> dict[str, Any]:
    """The fields, with the reason of each null in `missing`. Training must be done and the final
    evaluation, too.

    watched: the result of probes.summary.summarise over `training_intervals`. no_peak: why peak_gpu_mib
    is null, if so.
    """
    events = [stamped.event for stamped in past]
    done = next(event for event in reversed(events) if isinstance(event, TrainingDone))
    evaluated = next(
        event for event in reversed(events) if isinstance(event, Evaluated) and event.final
    )
    warmup, steady = _windows(events)
    paused = [event for event in events if isinstance(event, StepsDone) and event.paused_s]
    numbers = {
        "steps": done.steps,
        "images_seen": done.images,
        "train_s": round(done.elapsed_s - sum(window.paused_s for window in paused), 3),
        "wait_s": round(done.wait_s - sum(map(_paused_wait_s, paused)), 3),
        "evaluation_s": round(evaluated.elapsed_s, 3),  # one pass for all protocols
        "final_train_loss": _final_loss(events),
        "images_per_second": _rate(steady),
        "warmup_steps": sum(len(window.losses) for window in warmup),
        "peak_gpu_mib": peak_gpu_mib,
        **watched["summary"],
    }
    reasons = {
        "final_train_loss": "the record has no training step",
        "images_per_second": "each window was the first after a start, or the process was stopped in it",
        "peak_gpu_mib": no_peak,
        **watched["missing"],
    }
    return {
        **numbers,
        "missing": {name: reasons[name] for name, number in numbers.items() if number is None},
    }


def training_intervals(past: Sequence[Stamped]) -> list[Interval]:
    """When training ran since the last start, on the samples' clock.

    A stopped run's samples are in its own record.
    """
    return _intervals(_since_start(past))


def steady_intervals(past: Sequence[Stamped]) -> tuple[list[Interval], int]:
    """The same without the first window after the start, which is the warm-up; and their images."""
    steady = _since_start(past)[1:]
    return _intervals(steady), sum(event.images for _, event in steady)


def _since_start(past: Sequence[Stamped]) -> list[tuple[float, StepsDone]]:
    """When each window of the last start ended, and what it was."""
    starts = [place for place, stamped in enumerate(past) if isinstance(stamped.event, RunResumed)]
    since = past[starts[-1] if starts else 0 :]
    return [(one.t_s, one.event) for one in since if isinstance(one.event, StepsDone)]


def _intervals(windows: Sequence[tuple[float, StepsDone]]) -> list[Interval]:
    spans = [(end - window.elapsed_s, end) for end, window in windows]
    # times are rounded: a window may seem to begin before the last one ended
    ends = [0.0, *(end for _, end in spans)]
    return [
        (max(start, before), end)
        for before, (start, end) in zip(ends, spans, strict=False)
        if end > before
    ]


def _windows(events: Sequence[Event]) -> tuple[list[StepsDone], list[StepsDone]]:
    """The windows of the warm-up, which are the first after each start, and the steady ones."""
    trained = [None, *(event for event in events if isinstance(event, StepsDone | RunResumed))]
    warmup: list[StepsDone] = []
    steady: list[StepsDone] = []
    for before, window in pairwise(trained):
        if isinstance(window, StepsDone) and is_steady(before, window):
            steady.append(window)
        elif isinstance(window, StepsDone) and not isinstance(before, StepsDone):
            warmup.append(window)
    return warmup, steady


def _rate(steady: Sequence[StepsDone]) -> float | None:
    rates = [window.images / window.elapsed_s for window in steady if window.elapsed_s > 0]
    return round(median(rates), 2) if rates else None


def _paused_wait_s(window: StepsDone) -> float:
    """How much of wait_s was a pause for sure: what exceeds the rest of the window."""
    return max(0.0, window.wait_s - (window.elapsed_s - window.paused_s))


def _final_loss(events: Sequence[Event]) -> float | None:
    last = [loss for event in events if isinstance(event, StepsDone) for loss in event.losses][
        -LAST_STEPS:
    ]
    return sum(last) / len(last) if last else None
