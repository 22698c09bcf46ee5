"""Finds a run that had finished when its process was killed.

Repeating its command does not train it again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from safetensors import SafetensorError

from harness.checkpoint import Checkpoints
from harness.errors import RecordError, UsageError
from harness.records.store import RunRecord, Store
from harness.spec import RunSpec
from variants.modules.alexnet import build
from variants.modules.network import Network
from variants.weights import save_weights


def finished_before(
    spec: RunSpec, store: Store, checkpoints: Checkpoints, weights_to: Path | None = None
) -> RunRecord | None:
    """The record of a run of `spec` that had finished when it was killed, else None. Its checkpoints
    are removed.

    What killed runs left is sealed first. A run had finished if its record is sealed only now, as ok,
    or if it is sealed as ok and its checkpoint is still there: then another command has sealed it, or
    it was killed just before it could remove its checkpoint. weights_to: where to write its weights,
    which are in its last checkpoint; None is returned where they are not. Raises AlreadyRunning, and
    RecordError where the weights can't be written.
    """
    before = {path.name for path in store.folders_of(spec.digest)}
    for sentence in store.sweep(spec):
        print(sentence, file=sys.stderr)
    newest = checkpoints.newest()
    sealed = store.finished_since(spec.digest, "" if newest is None else newest.run_id)
    records = [record for record in sealed if newest is not None or record.run_id not in before]
    if not records:
        return None
    record = records[-1]
    if weights_to is not None:
        if newest is None or newest.step != record.summary.steps:
            return None
        model = build(spec.net)
        checkpoints.load_weights(model)
        raise_unsaved(write_weights(model, weights_to), record.path, checkpoints)
    checkpoints.remove()
    print(
        f"{record.run_id} had finished, so nothing is trained now; its record is in {record.path}. To "
        "train it again, repeat the command",
        file=sys.stderr,
    )
    return record


def weights_place(path: Path) -> None:
    """Raise UsageError, before training, if the weights could not be written to `path` after it."""
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"the weights can't be written to {path}; give a file in a folder that exists")


def write_weights(model: Network, to: Path) -> str | None:
    """Write the weights.

    An error does not end the finished run; it is printed at once and returned as a clause.
    """
    try:
        save_weights(model, to)
    except (OSError, SafetensorError) as error:
        unsaved = f"its weights can't be written to {to}: {error}"
        print(unsaved, file=sys.stderr)
        return unsaved
    return None


def raise_unsaved(unsaved: str | None, sealed: Path, checkpoints: Checkpoints) -> None:
    """Raise RecordError if `write_weights` returned a clause. sealed: the folder of the record."""
    if unsaved is not None:
        kept = f"; its last checkpoint is kept in {checkpoints.folder}" if checkpoints.files() else ""
        raise RecordError(f"the run is sealed in {sealed}, but {unsaved}{kept}")
