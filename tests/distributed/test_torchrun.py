"""Runs that torchrun starts: it restarts them after a kill, they end with it, and they speak with one voice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from processes import run_ranks
from tasks import command, executed, killed_once, losses, run_of
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from harness import devices
from harness.checkpoint import Checkpoints
from harness.devices import run_placement
from harness.errors import UsageError
from harness.events import RunResumed
from harness.records.store import RunRecord, Store
from harness.train import TrainState
from variants.modules.alexnet import build
from variants.recipes.recipe import Evaluation

ROOT = Path(__file__).parents[2]
RUN = ("run", "--variant", "grouped_2gpu", "--data", "synthetic", "--device", "cpu", "--threads", "1")
FEW = ("--limit-train", "96", "--limit-val", "20", "--set", "batch_size=20")  # a last batch of 16


VALIDATING = run_of(2, evaluation=Evaluation(protocols=("centre",), every_epochs=0.3))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The run of two ranks that never stopped."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(home / "cache"))
        run_ranks(2, executed, VALIDATING, 20, home / "results")
    (record,) = Store(home / "results").records()
    return record


@pytest.mark.parametrize("victim", [0, 1])
def test_after_a_rank_was_killed_torchrun_goes_on_from_the_checkpoint_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunRecord, victim: int
) -> None:
    """elastic_launch is what torchrun calls; here it starts a function instead of a command, which saves five imports.

    The victim kills itself before step 3. There is a validation after each step, and a checkpoint. If it is rank 0
    and dies before it has written an event, the next run removes its empty record.
    """
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=1, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        run_id="test", start_method="forkserver",
    )  # fmt: skip
    elastic_launch(config, killed_once)(VALIDATING, 20, tmp_path / "results", victim)
    *stopped, record = sorted(
        Store(tmp_path / "results").records(), key=lambda each: each.summary.status == "ok"
    )
    assert record.summary.status == "ok"
    assert all(each.summary.status in ("failed", "interrupted") for each in stopped)
    assert len(stopped) == 1 or (victim, stopped) == (0, [])
    (again,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert again.step >= 1
    assert len(losses(whole.events())) == 6
    assert losses(record.events()) == losses(whole.events())
    assert record.summary.results == whole.summary.results


def test_the_ranks_of_a_run_that_had_finished_end_together_and_train_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunRecord
) -> None:
    """The record of the first rank, which was killed before it could remove the checkpoint."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(whole.path, tmp_path / "results" / whole.run_id)
    checkpoints = Checkpoints(tmp_path / "results", whole.spec, 0.0, lambda: 0.0)
    checkpoints.save(TrainState.start(build(whole.spec.net), whole.spec.recipe), [], whole.run_id)
    run_ranks(2, executed, VALIDATING, 20, tmp_path / "results")
    assert [record.run_id for record in Store(tmp_path / "results").records()] == [whole.run_id]
    assert checkpoints.files() == []


def test_a_rank_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, time; from harness.distributed.ranks import _end_when_parent_ends as end; import "
        "threading; threading.Thread(target=end, args=(os.getppid(),), daemon=True).start(); "
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -c '{code}' & wait"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    child.wait(timeout=10)
    parent.stdout.close()


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(exit codes, lines on stdout, lines on stderr) of a command on two ranks."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def call(*words: str) -> tuple[list[str], list[str], list[str]]:
        codes = run_ranks(
            2, command, [*words, "--results", str(tmp_path / "results")], tmp_path, joined=False
        )
        out, err = (
            [
                line
                for rank in range(2)
                for line in (tmp_path / f"{rank}.{name}").read_text().splitlines()
            ]
            for name in ("out", "err")
        )
        return codes, out, err

    return call


def test_a_run_of_two_ranks_reports_once(said: Any, tmp_path: Path) -> None:
    codes, out, err = said(*RUN, *FEW, "--set", "epochs=0.4")
    assert codes == ["SystemExit: 0", "SystemExit: 0"], err
    assert len(out) == 1
    assert out[0].startswith("grouped_2gpu: top-1 error ")
    assert len(list((tmp_path / "results").glob("2*"))) == 1
    assert not (tmp_path / "1.err").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--variant", "no_lnr"),
            "error: no variant 'no_lnr'. Did you mean 'no_lrn'? See: python -m harness list",
        ),
        (
            ("--set", "batch_size=1"),
            "error: a global batch of 1 images is too small for 2 ranks; use fewer ranks",
        ),
    ],
)
def test_an_error_that_all_ranks_find_is_said_once(
    said: Any, words: tuple[str, ...], sentence: str
) -> None:
    codes, out, err = said(*RUN, *FEW, *words)
    assert codes == ["SystemExit: 2", "SystemExit: 2"]
    assert not out
    (line,) = [line for line in err if "error" in line]
    assert line.startswith(sentence)


def test_other_commands_are_refused_once(tmp_path: Path) -> None:
    codes = run_ranks(2, command, ["list"], tmp_path, joined=False)
    assert codes == ["SystemExit: 2", "SystemExit: 2"]
    assert (tmp_path / "0.err").read_text() == (
        "error: torchrun can start `run` only; start this command without it\n"
    )
    assert not (tmp_path / "1.err").read_text()


# -------------------------------------------------------------------------------------------------------------- devices

SECOND = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


class FakeTorch:
    """torch on a machine with two GPUs."""

    class cuda:  # noqa: N801  # as torch has it
        @staticmethod
        def is_available() -> bool:
            return True

        @staticmethod
        def device_count() -> int:
            return 2

    @staticmethod
    def empty(size: int, device: str) -> torch.Tensor:
        if device not in ("cpu", "cuda", "cuda:0", "cuda:1"):
            raise RuntimeError("CUDA error: invalid device ordinal")
        return torch.empty(size)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_rank_of_a_machine_uses_its_own_gpu(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(devices, "torch", FakeTorch)
    assert run_placement(device, None, 1, "auto", SECOND).device == "cuda:1"
    assert run_placement(device, None, 1, "auto", {}).device == "cuda"
    with pytest.raises(
        UsageError, match="device 'cuda:2' can't be used: CUDA error: invalid device ordinal"
    ):
        run_placement(device, None, 1, "auto", {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3"})


@pytest.mark.parametrize(
    ("cores", "alone", "of_two"), [(1, 1, 1), (8, 8, 4), (12, 12, 6), (128, 12, 12)]
)
def test_a_gpu_is_fed_by_all_cores_up_to_12_and_the_cpu_by_one(
    monkeypatch: pytest.MonkeyPatch, cores: int, alone: int, of_two: int
) -> None:
    monkeypatch.setattr(devices, "torch", FakeTorch)
    monkeypatch.setattr(devices, "usable_cores", lambda: cores)
    assert run_placement("cuda", None, None, "auto", {}).workers == alone
    assert run_placement("auto", None, None, "auto", SECOND).workers == of_two
    assert run_placement("cpu", None, None, "auto", {}).workers == 1
    assert run_placement("cuda", None, 20, "auto", {}).workers == 20  # as the user says


def test_ranks_can_t_share_a_gpu_and_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    assert run_placement("cpu", None, 1, "auto", SECOND).threads == 4
    assert run_placement("cpu", 3, 1, "auto", SECOND).threads == 3
    with pytest.raises(
        UsageError, match="2 ranks can't share 'cuda:0'; with --device cuda each rank has its own GPU"
    ):
        run_placement("cuda:0", None, 1, "auto", SECOND)
