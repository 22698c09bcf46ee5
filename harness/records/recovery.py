"""The result of a run that was killed after its final evaluation, from its events and the bits on
disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import RecordError
from harness.events import Evaluated, TrainingDone
from harness.machine.environment import Environment
from harness.probes.base import Sample
from harness.probes.summary import summarise
from harness.records.files import read_whole
from harness.records.record import ARRAY_LIMIT, Stamped, bits_name
from harness.records.schema import ProtocolResult
from harness.records.summary_fields import NO_GPU, summary_fields, training_intervals
from harness.spec import RunSpec

KILLED = "the process was killed before it could end its record"


def final_results(
    spec: RunSpec, past: Sequence[Stamped], folder: Path
) -> dict[str, ProtocolResult] | None:
    """The final evaluation under each protocol of the recipe; None unless it is whole and agrees
    with the bits.
    """
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
            packed = np.frombuffer(
                read_whole(folder / bits_name(event.protocol, k), ARRAY_LIMIT), dtype=np.uint8
            )
        except RecordError:
            return False
        if len(packed) != (event.images + 7) // 8:
            return False
        wrong = event.images - int(np.unpackbits(packed, count=event.images).sum())
        if abs(wrong / event.images - error) > 0.5 / event.images:
            return False
    return True


def recovered_fields(
    env: Environment, past: Sequence[Stamped], samples: Iterable[Sample]
) -> dict[str, Any]:
    """Fields of Summary that can be known of the killed run, with the reason of each null in
    `missing`.
    """
    watched = summarise(samples, training_intervals(past), concurrent=env.placement.concurrent)
    asked = env.placement.loader
    return {
        "loader": "unknown" if asked == "auto" else asked,
        "loader_reason": KILLED if asked == "auto" else "asked for",
        **summary_fields(
            past,
            watched,
            peak_gpu_mib=None,
            no_peak=NO_GPU if env.placement.device == "cpu" else KILLED,
        ),
    }
