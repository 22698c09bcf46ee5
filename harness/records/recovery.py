"""The result of a run that was killed after its final evaluation, from its events and the bits on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness.errors import RecordError
from harness.events import Evaluated, RunResumed, StepsDone, TrainingDone
from harness.machine.environment import Environment
from harness.probes.base import Sample
from harness.probes.summary import summarise
from harness.records.files import read_whole
from harness.records.record import ARRAY_LIMIT, Stamped, bits_name
from harness.records.schema import ProtocolResult
from harness.spec import RunSpec

LAST_STEPS = 100  # over which the final training loss is a mean, as in harness.summary
KILLED = "the process was killed before it could end its record"


def final_results(spec: RunSpec, past: Sequence[Stamped], folder: Path) -> dict[str, ProtocolResult] | None:
    """The final evaluation under each protocol of the recipe; None unless it is whole and agrees with the bits."""
    events = [stamped.event for stamped in past]
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    final = {event.protocol: event for event in evaluations if event.final and event.split == "val"}
    if not any(isinstance(event, TrainingDone) for event in events):
        return None
    results: dict[str, ProtocolResult] = {}
    for protocol in spec.recipe.evaluation.protocols:
        event = final.get(protocol)
        if event is None or event.images != spec.data.val_images or not _agrees(event, folder):
            return None
        results[protocol] = ProtocolResult(
            top1_error=event.top1_error,
            top5_error=event.top5_error,
            loss=event.loss,
            images=event.images,
            localisation_error=event.localisation_error,
        )
    return results


def _agrees(event: Evaluated, folder: Path) -> bool:
    """Whether the bits of the protocol are there and give the event's errors."""
    for k, error in ((1, event.top1_error), (5, event.top5_error)):
        try:
            packed = np.frombuffer(read_whole(folder / bits_name(event.protocol, k), ARRAY_LIMIT), dtype=np.uint8)
        except RecordError:
            return False
        if len(packed) != (event.images + 7) // 8:
            return False
        wrong = event.images - int(np.unpackbits(packed, count=event.images).sum())
        if abs(wrong / event.images - error) > 0.5 / event.images:
            return False
    return True


def summary_fields(env: Environment, past: Sequence[Stamped], samples: Iterable[Sample]) -> dict[str, Any]:
    """Fields of Summary that follow from the events and samples, with the reason of each null in `missing`."""
    events = [stamped.event for stamped in past]
    done = next(event for event in reversed(events) if isinstance(event, TrainingDone))
    evaluation_s = next(event.elapsed_s for event in reversed(events) if isinstance(event, Evaluated) and event.final)
    windows = [event for event in events if isinstance(event, StepsDone)]
    watched = summarise(samples, _intervals(past))
    asked = env.placement.loader
    known = {
        "steps": done.steps,
        "images_seen": done.images,
        "train_s": round(done.elapsed_s, 3),
        "wait_s": round(done.wait_s, 3),
        "evaluation_s": round(evaluation_s, 3),
        "final_train_loss": _final_loss(windows),
        "images_per_second": _rate(past),
        "warmup_steps": windows[0].last_step if windows else 0,
        "loader": "unknown" if asked == "auto" else asked,
        "loader_reason": KILLED if asked == "auto" else "asked for",
        **watched["summary"],
    }
    missing = dict(watched["missing"])
    if env.placement.device == "cpu":
        missing["peak_gpu_mib"] = "the run used no GPU"
    if known["images_per_second"] is None:
        missing["images_per_second"] = "the run was too short to leave the warm-up behind"
    return {**known, "missing": missing}


def _intervals(past: Sequence[Stamped]) -> list[tuple[float, float]]:
    """When training ran since the last start, on the samples' clock."""
    starts = [place for place, stamped in enumerate(past) if isinstance(stamped.event, RunResumed)]
    since = past[starts[-1] if starts else 0 :]
    spans = [(one.t_s - one.event.elapsed_s, one.t_s) for one in since if isinstance(one.event, StepsDone)]
    ends = [0.0, *(end for _, end in spans)]
    return [(max(start, before), end) for before, (start, end) in zip(ends, spans, strict=False) if end > before]


def _final_loss(windows: Sequence[StepsDone]) -> float | None:
    last = [loss for window in windows for loss in window.losses][-LAST_STEPS:]
    return sum(last) / len(last) if last else None


def _rate(past: Sequence[Stamped]) -> float | None:
    """Median over the windows that are no first one after a start."""
    trained = [stamped.event for stamped in past if isinstance(stamped.event, StepsDone | RunResumed)]
    steady = [
        window.images / window.elapsed_s
        for before, window in pairwise(trained)
        if isinstance(before, StepsDone) and isinstance(window, StepsDone) and window.elapsed_s > 0
    ]
    return round(median(steady), 2) if steady else None
