"""Checkpoints: saves and restores a training, so that a resumed run gives the same bits as an
uninterrupted one.

A checkpoint is one safetensors file, results/.checkpoints/<digest of the spec>/<step>.safetensors. Its
tensors are the weights, the velocities, torch's random state and the events so far; its metadata has
the step, the schedules' state and sums as JSON. The order of images, crops and noise are functions of
(seed, epoch, image) and need no state.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harness.errors import RecordError, UsageError
from harness.events import Evaluated, Event, StepsDone
from harness.files import write_atomically
from harness.optim import set_velocity_lrs, velocity_lrs
from harness.records.files import writing
from harness.records.record import Stamped
from harness.serialization import from_json, to_json
from harness.spec import RunSpec
from harness.train import Total, TrainState
from variants.modules.alexnet import AlexNet

SCHEMA_VERSION = 1
FOLDER = ".checkpoints"
KEPT = 2
ALWAYS = ("schema_version", "spec_digest", "torch", "run_id", "step")  # what every metadata has
SHORTEST_S = 60.0  # minimum time between a checkpoint and the next one at the end of an epoch


@dataclass(frozen=True)
class Resumed:
    """A loaded checkpoint: the step, and the events before it with their times."""

    step: int
    past: list[Stamped]
    run_id: str
    saved_utc: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint file, its step, and the run that saved it."""

    path: Path
    step: int
    run_id: str


class Checkpoints:
    """The checkpoints of one run below `root`, a results folder.

    every_s: time between two checkpoints during training. There is also one at the end of an epoch if
    the last one is at least 60 s old. clock: seconds.
    """

    def __init__(self, root: Path, spec: RunSpec, every_s: float, clock: Callable[[], float]) -> None:
        self.folder = root / FOLDER / spec.digest
        self._spec, self._every_s, self._clock = spec, every_s, clock
        self._last_s, self._last_epoch = clock(), 0

    def due(self, event: Event, validation_follows: bool, *, at_once: bool) -> bool:
        """Whether to save after `event`. Between a window and the last of its evaluations the state is
        incomplete.

        at_once: a signal asked for a checkpoint, or training has ended.
        """
        if (
            not isinstance(event, StepsDone | Evaluated)
            or validation_follows
            or getattr(event, "split", "val") != "val"
        ):
            return False
        passed_s = self._clock() - self._last_s
        at_epochs_end = passed_s >= SHORTEST_S and int(event.epoch) > self._last_epoch
        return at_once or passed_s >= self._every_s or at_epochs_end

    def save(self, state: TrainState, past: list[Stamped], run_id: str) -> None:
        """Write a checkpoint and remove all but the last two.

        Raises RecordError where the disk refuses.
        """
        self._last_s, self._last_epoch = (
            self._clock(),
            int(getattr(past[-1].event, "epoch", 0.0)) if past else 0,
        )
        tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
        for index, kept in state.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer/{index}/{name}": held
                for name, held in kept.items()
                if isinstance(held, Tensor)
            }
        tensors["random/cpu"] = torch.get_rng_state()
        for number, gpu in enumerate(_gpus(state)):
            tensors[f"random/cuda{number or ''}"] = torch.cuda.get_rng_state(gpu)
        lines = "".join(f"{to_json(stamped)}\n" for stamped in past).encode()
        tensors["events"] = torch.frombuffer(bytearray(lines or b"\n"), dtype=torch.uint8)
        plain = {
            "schema_version": SCHEMA_VERSION,
            "spec_digest": self._spec.digest,
            "run_id": run_id,
            "torch": torch.__version__,
            "step": state.done,
            "lr": state.lr,
            "velocity_lrs": velocity_lrs(state.optimizer),
            "finished": state.finished,
            "scheduler": state.scheduler.state_dict(),
            "total": asdict(state.total),
            "saved_utc": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        content = save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            {"checkpoint": json.dumps(plain)},
        )
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / f"{state.done:010d}.safetensors", content)
            for old in self.files()[:-KEPT]:
                old.unlink()

    def files(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return checkpoint_files(self.folder)

    def load(self, state: TrainState) -> Resumed | None:
        """Load the newest checkpoint into `state` and torch's generators; None if there is none.

        A damaged one is renamed to *.damaged, and the one before it is loaded. Raises UsageError for a
        checkpoint of another torch, schema version or run.
        """
        for path in reversed(self.files()):
            try:
                plain, tensors = read(path)
            except RecordError as error:
                _put_aside(path, error)
                continue
            self._refuse_other_versions(path, plain)
            try:
                past = _events(tensors)
                _put(state, plain, tensors)
            except (RecordError, LookupError, RuntimeError, TypeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise UsageError(
                    f"the checkpoint {path} is not one of this run and this version: {reason}; move it "
                    "away, or start again with --fresh"
                ) from error
            return Resumed(state.done, past, str(plain["run_id"]), str(plain["saved_utc"]))
        return None

    def newest(self) -> Saved | None:
        """What the newest checkpoint that is not damaged says of itself."""
        for path in reversed(self.files()):
            try:
                plain, _ = read(path, names=())
            except RecordError:
                continue
            return Saved(path, int(plain["step"]), str(plain["run_id"]))
        return None

    def load_weights(self, model: AlexNet) -> None:
        """Load the weights of the newest checkpoint. Raises RecordError if there is none."""
        newest = self.newest()
        if newest is None:
            raise RecordError(f"there is no complete checkpoint in {self.folder}")
        model.load_state_dict(_below("model/", read(newest.path)[1]))

    def remove(self) -> None:
        """Remove the checkpoints; called when the run is sealed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _refuse_other_versions(self, path: Path, plain: dict[str, Any]) -> None:
        here = {
            "schema_version": SCHEMA_VERSION,
            "spec_digest": self._spec.digest,
            "torch": torch.__version__,
        }
        for name, wanted in here.items():
            if plain.get(name) != wanted:
                raise UsageError(
                    f"the checkpoint {path} has {name} {plain.get(name)}, but this is {wanted}; a "
                    "resumed run would not give the same bits: use that version, or start again with "
                    "--fresh"
                )


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in one run's folder, oldest first."""
    return sorted(folder.glob("[0-9]*.safetensors"))


def read(path: Path, names: Collection[str] | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata and tensors of a checkpoint file: all, or those named. Others are not read from the
    disk.

    Raises RecordError if it is damaged or not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads(file.metadata()["checkpoint"])
            _ = [plain[name] for name in ALWAYS]
            return plain, {
                name: file.get_tensor(name) for name in (file.keys() if names is None else names)
            }
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is not a complete checkpoint: {error}") from error


def _put_aside(path: Path, error: RecordError) -> None:
    """Rename a damaged checkpoint, so that it counts no more, and say so."""
    aside = path.with_suffix(".damaged")
    with suppress(OSError):  # another rank has done it, or the folder is read-only
        path.rename(aside)
    print(f"{error}; it is renamed to {aside.name}", file=sys.stderr)


def metadata(path: Path) -> tuple[dict[str, Any], list[Stamped]]:
    """The metadata of a checkpoint and the events so far. Raises RecordError."""
    plain, tensors = read(path, names=("events",))
    return plain, _events(tensors)


def _events(tensors: dict[str, Tensor]) -> list[Stamped]:
    return [from_json(line, Stamped) for line in bytes(tensors["events"].numpy()).splitlines() if line]


def _put(state: TrainState, plain: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    state.model.load_state_dict(_below("model/", tensors))
    weights = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    kept: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer/", tensors).items():
        index, _, field = name.partition("/")
        kept.setdefault(int(index), {})[field] = torch.empty_like(weights[int(index)]).copy_(tensor)
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": kept})
    set_velocity_lrs(state.optimizer, plain.get("velocity_lrs", ()))
    state.scheduler.load_state_dict(plain["scheduler"])
    state.done, state.lr, state.total = int(plain["step"]), float(plain["lr"]), Total(**plain["total"])
    state.finished = bool(plain["finished"])
    torch.set_rng_state(tensors["random/cpu"])
    for number, gpu in enumerate(_gpus(state)):
        torch.cuda.set_rng_state(tensors[f"random/cuda{number or ''}"], gpu)


def _gpus(state: TrainState) -> list[torch.device]:
    """The GPUs that hold weights, each once, in the order of the weights: their generators draw
    dropout masks.
    """
    return [
        gpu
        for gpu in dict.fromkeys(weight.device for weight in state.model.parameters())
        if gpu.type == "cuda"
    ]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }
