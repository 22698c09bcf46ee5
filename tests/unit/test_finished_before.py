"""A run that was killed after its final evaluation had finished: its command seals it and does not train it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import NET, prepared, run_spec

from harness.checkpoint import FOLDER
from harness.errors import RecordError
from harness.placement import Placement
from harness.records.record import RunRecord
from harness.records.store import Store
from harness.run import execute
from harness.spec import RunSpec
from harness.status import unfinished
from variants.modules.alexnet import build
from variants.weights import load_weights

SPEC = run_spec(16)
OTHER = replace(SPEC, seed=1)


pytestmark = pytest.mark.usefixtures("torch_as_before")


def run(root: Path, spec: RunSpec = SPEC, **more: Any) -> RunRecord:
    return execute(spec, prepared(16), Store(root), Placement(), checkpoint_s=0.0, **more)


def run_killed(root: Path, at: str, spec: RunSpec = SPEC, **more: Any) -> None:
    """A run that ends before its call of `at`, and leaves its folder and its checkpoint as a killed process does."""

    def killed(*_: object) -> None:
        raise RecordError("stands in for SIGKILL")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(at, killed)
        with pytest.raises(RecordError):
            run(root, spec, **more)
    assert list((root / FOLDER / spec.digest).iterdir())


MOMENTS = {
    "before it was sealed": "harness.records.writer.seal_folder",
    "before its rename": "harness.records.writer.os.rename",
    "between its rename and the removal of its checkpoint": "harness.checkpoint.Checkpoints.remove",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_same_command_trains_nothing_and_says_where_the_record_is(
    tmp_path: Path, moment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_killed(tmp_path, MOMENTS[moment])
    record = run(tmp_path)
    assert [sealed.run_id for sealed in Store(tmp_path).records()] == [record.run_id]
    assert record.summary.status == "ok"
    assert not list((tmp_path / FOLDER).glob("*/*"))
    said = capsys.readouterr().err
    assert f"{record.run_id} had finished" in said
    assert str(record.path) in said

    again = run(tmp_path)  # asked for once more, it is trained once more
    assert again.run_id != record.run_id
    assert len(Store(tmp_path).records()) == 2
    assert "had finished" not in capsys.readouterr().err


def test_it_had_finished_also_where_another_run_sealed_it(tmp_path: Path) -> None:
    """`status` names it until its own command was given again."""
    run_killed(tmp_path, MOMENTS["before it was sealed"])
    run(tmp_path, OTHER)
    assert [(left.state, left.step) for left in unfinished(tmp_path)] == [("sealed", 4)]
    record = run(tmp_path)
    assert sorted(sealed.spec.seed for sealed in Store(tmp_path).records()) == [0, 1]
    assert record.spec == SPEC
    assert unfinished(tmp_path) == []


def test_fresh_trains_it_again(tmp_path: Path) -> None:
    run_killed(tmp_path, MOMENTS["before it was sealed"])
    run(tmp_path, fresh=True)
    assert len(Store(tmp_path).records()) == 2
    assert not list((tmp_path / FOLDER).glob("*/*"))


def test_its_weights_are_those_of_its_last_checkpoint(tmp_path: Path) -> None:
    run(tmp_path / "whole", weights_to=tmp_path / "whole.safetensors")
    run_killed(tmp_path / "killed", MOMENTS["before it was sealed"])
    run(tmp_path / "killed", weights_to=tmp_path / "killed.safetensors")
    assert len(Store(tmp_path / "killed").records()) == 1
    found = [build(NET), build(NET)]
    for name, model in zip(("whole", "killed"), found, strict=True):
        load_weights(tmp_path / f"{name}.safetensors", model)
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_weights_that_can_not_be_written_keep_the_checkpoint(tmp_path: Path) -> None:
    run_killed(tmp_path, MOMENTS["before it was sealed"])
    with pytest.raises(
        RecordError, match=r"is sealed in .*weights can't be written.*checkpoint is kept"
    ):
        run(tmp_path, weights_to=tmp_path / "none" / "w.safetensors")
    assert list((tmp_path / FOLDER).glob("*/*"))


def test_a_run_that_was_stopped_after_an_earlier_one_finished_goes_on(tmp_path: Path) -> None:
    """The record of the earlier run is older than the checkpoint."""
    run(tmp_path)

    def stop(event: object) -> None:
        if type(event).__name__ == "StepsDone":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(SPEC, prepared(16), Store(tmp_path), Placement(), stop, checkpoint_s=0.0)
    run(tmp_path)
    assert sorted(record.summary.status for record in Store(tmp_path).records()) == [
        "interrupted",
        "ok",
        "ok",
    ]
