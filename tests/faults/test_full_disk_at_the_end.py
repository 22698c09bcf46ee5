"""A real run whose disk is full at its end: weights, bits and errors survive."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import refuse

from harness.checkpoint import FOLDER
from harness.errors import RecordError
from harness.records.store import Store
from harness.records.verify import verify

RUN = ("run", "--variant", "no_lrn", "--data", "synthetic", "--set", "epochs=0.25")


def test_weights_that_found_no_room_stay_in_the_checkpoint_until_they_are_written(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as here:
        here.setattr("harness.finished.save_weights", refuse(errno.ENOSPC))
        said = call(*RUN, "--save-weights", "net.safetensors")
    assert said.code == RecordError.exit_code
    (record,) = Store(Path("results")).records()
    folder = Path("results") / FOLDER / record.spec.digest
    assert "No space left on device" in said.error
    assert said.error.endswith(f"its last checkpoint is kept in {folder}")
    assert record.summary.status == "ok"
    assert list(folder.glob("*.safetensors"))

    assert call(*RUN, "--save-weights", "net.safetensors").code == 0  # trains nothing
    assert Path("net.safetensors").exists()
    assert not folder.exists()
    assert [again.run_id for again in Store(Path("results")).records()] == [record.run_id]


def test_a_run_that_could_not_be_sealed_is_sealed_as_ok_by_the_next_one(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object) -> None:
        raise RecordError("can't write the record: No space left on device")

    with monkeypatch.context() as here:
        here.setattr("harness.records.writer.seal_folder", refused)
        assert call(*RUN).code == RecordError.exit_code
    assert Store(Path("results")).records() == []
    said = call(*RUN, "--fresh")
    assert said.code == 0
    assert "was killed after its final evaluation; it is sealed now as ok" in said.err
    recovered, whole = Store(Path("results")).records()
    assert [verify(record.path) for record in (recovered, whole)] == [[], []]
    assert recovered.summary.results == whole.summary.results
    for name in ("steps", "images_seen", "final_train_loss", "warmup_steps"):
        assert getattr(recovered.summary, name) == getattr(whole.summary, name)
    for protocol in whole.summary.results:
        assert np.array_equal(recovered.correct(protocol, 1), whole.correct(protocol, 1))
    assert np.array_equal(recovered.array("conv1"), whole.array("conv1"))
