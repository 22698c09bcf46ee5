"""Checkpoint files that are torn, foreign or of another version, and a process killed while it writes one."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_training import net, recipe, run_spec

from harness.checkpoint import Checkpoints, read
from harness.errors import UsageError
from harness.events import TrainingStarted
from harness.records.record import Stamped
from harness.status import unfinished
from harness.train import TrainState

SPEC = run_spec(16)
PAST = [
    Stamped(t_s=0.0, event=TrainingStarted(steps=40, images_per_epoch=16, parameters=1)),
]


def state(step: int = 0) -> TrainState:
    made = TrainState.start(net(), SPEC.recipe)
    made.done = step
    return made


def saved(root: Path, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(root, SPEC, 600.0, lambda: 0.0)
    for step in steps:
        checkpoints.save(state(step), PAST, "run-1")
    return checkpoints


def changed(path: Path, changes: dict[str, Any], without: str = "") -> None:
    """The same checkpoint with other metadata, or without a tensor."""
    plain, tensors = read(path)
    kept = {name: tensor for name, tensor in tensors.items() if name != without}
    save_file(kept, path, {"checkpoint": json.dumps(plain | changes)})


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def no_checkpoint(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def no_metadata(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"checkpoint": "[1, 2]"})


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "torn": torn,
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "weights": no_checkpoint,
    "other metadata": no_metadata,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_put_aside_and_the_one_before_it_is_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], damage: str
) -> None:
    checkpoints = saved(tmp_path, 8, 16)
    newest = checkpoints.files()[-1]
    DAMAGES[damage](newest)
    assert checkpoints.newest().step == 8  # type: ignore[union-attr]
    assert [one.step for one in unfinished(tmp_path)] == [8]
    found = checkpoints.load(state())
    assert found is not None
    assert (found.step, found.past) == (8, PAST)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{newest} is not a complete checkpoint: ")
    assert line.endswith("; it is renamed to 0000000016.damaged")
    assert newest.with_suffix(".damaged").exists()


def test_after_all_were_damaged_the_next_ones_are_kept(tmp_path: Path) -> None:
    """They have lower steps than the damaged ones."""
    checkpoints = saved(tmp_path, 800, 1600)
    for path in checkpoints.files():
        torn(path)
    assert checkpoints.load(state()) is None
    assert [int(path.stem) for path in saved(tmp_path, 8, 16).files()] == [8, 16]


FUTURE = {"kind": "from_the_future", "step": 1}
OTHERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer": (
        lambda path: changed(path, {"schema_version": 2}),
        r"has schema_version 2, but this is 1; .* start again with --fresh",
    ),
    "another run's": (
        lambda path: changed(path, {"spec_digest": "0" * 64}),
        r"has spec_digest 000.*, but this is .* start again with --fresh",
    ),
    "without events": (
        lambda path: changed(path, {}, without="events"),
        r"is not one of this run and this version: 'events'; move it away, or start again with --fresh",
    ),
    "without a weight": (
        lambda path: changed(path, {}, without="model/fc8.weight"),
        r"is not one of this run and this version: .*fc8\.weight.*; move it away",
    ),
    "with an older state of the schedule": (
        lambda path: changed(path, {"total": {"images": 1, "seconds": 2}}),
        r"is not one of this run and this version: .*seconds.*; move it away",
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_foreign_one_is_refused_in_a_sentence_and_kept(tmp_path: Path, other: str) -> None:
    checkpoints = saved(tmp_path, 8)
    (path,) = checkpoints.files()
    change, sentence = OTHERS[other]
    change(path)
    content = path.read_bytes()
    with pytest.raises(UsageError, match=sentence):
        checkpoints.load(state())
    assert path.read_bytes() == content


def test_events_of_a_later_version_are_refused_in_a_sentence(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 8)
    (path,) = checkpoints.files()
    plain, tensors = read(path)
    line = json.dumps({"t_s": 0.0, "event": FUTURE}).encode()
    tensors["events"] = torch.frombuffer(bytearray(line), dtype=torch.uint8)
    save_file(tensors, path, {"checkpoint": json.dumps(plain)})
    with pytest.raises(UsageError, match=r"and this version: .*event.*; move it away"):
        checkpoints.load(state())


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 8)
    wide = TrainState.start(net(replace(SPEC.net, input_size=12)), recipe())
    with pytest.raises(UsageError, match="size mismatch for fc8"):
        checkpoints.load(wide)


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Do `work` in a fork that is killed at its file-system call number `call`; whether it was."""
    child = os.fork()
    if child == 0:
        counted = itertools.count(1)

        def count(event: str, _: object) -> None:
            if event.startswith(("open", "os.")) and next(counted) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_process_killed_at_any_call_of_a_save_leaves_a_checkpoint_that_is_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The third save also removes the first checkpoint."""
    steps = []
    for call in itertools.count(1):
        root = tmp_path / str(call)
        saved(root, 8, 16)
        killed = killed_at(call, lambda root=root: saved(root, 24))  # type: ignore[misc]
        found = Checkpoints(root, SPEC, 600.0, lambda: 0.0).load(state())
        assert found is not None
        steps.append(found.step)
        if not killed:
            break
    assert set(steps) == {16, 24}
    assert steps == sorted(steps)
    assert len(steps) > 4
    assert capfd.readouterr().err == ""
