"""The events of a run.

The train loop yields them; the record, the summary and the progress display use them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from harness.bounds import Amount, Count, Fraction, Losses, Size
from variants.values import value


@value
class TrainingStarted:
    """Sent once, before the first step: the length of the training and the size of the network."""

    kind: Literal["training_started"] = "training_started"
    steps: Count
    images_per_epoch: Count
    parameters: Count


@value
class StepsDone:
    """A window of consecutive training steps; `last_step` counts from 1.

    Timings cover the whole window.
    """

    kind: Literal["steps"] = "steps"
    last_step: Count
    epoch: Amount
    # one per step: mean log loss over the batch, plus the box head's loss if it is trained
    losses: Losses
    top1_error: Fraction  # on the training batches, with augmentation and dropout
    lr: float
    images: Count
    elapsed_s: Amount
    wait_s: Amount  # the part of elapsed_s spent waiting for the loader
    # the part of elapsed_s in which the process did not run (SIGSTOP, a frozen container)
    paused_s: Amount = 0.0


@value
class Evaluated:
    """Errors as fractions of `images`, on the validation set or the training set (`split`).

    `final` marks the evaluation that the report uses.
    """

    kind: Literal["evaluated"] = "evaluated"
    step: Count
    epoch: Amount
    protocol: str
    final: bool
    top1_error: Fraction
    top5_error: Fraction
    loss: float  # -log of the protocol's (averaged) softmax at the label, mean over the images
    images: Size
    elapsed_s: Amount
    split: Literal["train", "val"] = "val"
    localisation_error: Fraction | None = None  # class wrong or IoU < .5; null without boxes


@value
class LrChanged:
    """The recipe's lr changed; `lr` is the new one."""

    kind: Literal["lr_changed"] = "lr_changed"
    step: Count
    epoch: Amount
    lr: float


@value
class RunResumed:
    """A run resumes from a checkpoint. The events before this one are of the run `run_id`, which
    stopped after `step`.

    paused_s: time since the checkpoint. Steps that the stopped run did after the checkpoint are
    repeated.
    """

    kind: Literal["run_resumed"] = "run_resumed"
    step: Count
    epoch: Amount
    run_id: str
    paused_s: Amount


@value
class TrainingDone:
    """Sent after the last step: sums over the whole training, without evaluations.

    unchanged: names of weights that are still as they were before the first step; null in older
    records.
    """

    kind: Literal["training_done"] = "training_done"
    steps: Count
    images: Count
    elapsed_s: Amount
    wait_s: Amount
    unchanged: tuple[str, ...] | None = None


Event: TypeAlias = TrainingStarted | StepsDone | Evaluated | LrChanged | RunResumed | TrainingDone
