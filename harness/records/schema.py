"""What a record holds, field by field.

Units stand in names; a null has its reason in `missing`; errors: fractions.
"""

from __future__ import annotations

from typing import Literal

from harness.bounds import Amount, Count, Fraction, Size
from harness.machine.environment import SCHEMA_VERSION
from variants.values import value

Status = Literal["ok", "failed", "interrupted"]


@value
class ProtocolResult:
    """The final evaluation under one protocol. The same names as events.Evaluated."""

    top1_error: Fraction
    top5_error: Fraction
    loss: float
    images: Size
    localisation_error: Fraction | None = None


@value
class Summary:
    """summary.json: what the report's tables read. `missing` maps a null field's name to the reason."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    spec_digest: str
    status: Status
    status_reason: str | None
    started_utc: str
    finished_utc: str
    parameters: Count
    macs: Count
    steps: Count
    images_seen: Count
    results: dict[str, ProtocolResult]  # by protocol; empty unless status is ok
    final_train_loss: float | None  # mean over the last windows of training steps, log loss
    train_s: Amount | None  # training steps only; evaluation, set-up and pauses excluded
    wait_s: Amount | None  # the part of train_s spent waiting for the loader
    images_per_second: Amount | None  # median over windows after the warm-up
    warmup_steps: Count  # in the first window after each start of the run
    evaluation_s: Amount | None
    peak_rss_mib: Amount | None  # resident memory, with the pages of mapped files
    peak_memory_mib: Amount | None = None  # without them; older records lack it
    peak_gpu_mib: Amount | None
    # mean over training, fraction of NVML's past window with a kernel running
    gpu_utilisation: float | None
    gpu_energy_j: float | None  # difference of the total-energy counter over training
    cpu_utilisation: float | None  # process CPU seconds per second of training; 2.0 is two full cores
    loader: str
    loader_reason: str
    missing: dict[str, str]


@value
class Bin:
    """Images whose most probable class has about the same probability."""

    images: Count
    confidence: Fraction | None  # mean probability of the answer
    right: Fraction | None  # fraction of right answers


MOST_CLASSES = 100  # a larger confusion matrix would be most of the record


@value
class Analysis:
    """analysis.json: the answers of the final evaluation under its first protocol, by class and by
    confidence.

    classes: names by label. confusion: images by label (row) and most probable class; None above
    MOST_CLASSES.
    calibration: ten or more bins of the probability of the answer: images, mean probability, fraction
    right (null in an empty bin).
    """

    protocol: str
    classes: tuple[str, ...]
    confusion: tuple[tuple[Count, ...], ...] | None
    calibration: tuple[Bin, ...]


@value
class Refused:
    """A record that was left out: it can't be read, or is not as it was sealed. reason: one
    sentence, no path.
    """

    run_id: str
    reason: str
