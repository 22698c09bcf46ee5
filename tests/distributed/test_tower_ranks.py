"""Two ranks with a tower each train as one process with both towers does, and leave one record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_ranks
from tasks import (
    Trained,
    boxed_step,
    executed,
    killed_once,
    losses,
    run_of,
    tower_trainings,
    towers_resumed,
)
from test_data_parallel import EVERY_EPOCH, NOISE, others
from test_torchrun import FEW, RUN, SECOND, FakeTorch, said  # noqa: F401  # a fixture
from test_two_towers_run import COLUMNS, TWENTY_STEPS
from tiny_training import net, recipe
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from harness import devices
from harness.checkpoint import FOLDER, checkpoint_files, read
from harness.devices import run_placement
from harness.distributed.data_parallel import refuse_unsuitable
from harness.distributed.ranks import ALONE
from harness.errors import UsageError
from harness.events import LrChanged, RunResumed, TrainingStarted
from harness.records.store import RunRecord, Store
from harness.spec import RunSpec
from variants.layers import BatchNorm, Dense, Dropout
from variants.modules.towers import ColumnDropout, Towers, split
from variants.recipes.recipe import Evaluation, FixedDrops, Loss, Plateau

DROPOUT = COLUMNS.before("fc8", Dropout(name="drop6"))
NORMED = DROPOUT.before("relu2", BatchNorm(name="bn2"))
# 21 images end with a batch of 5.
CASES = {
    "the paper's rule, drops, noise": (
        DROPOUT, replace(TWENTY_STEPS, augmentation=NOISE, weight_decay=5e-4), 21
    ),
    "torch's rule, batch norm, bf16": (
        NORMED, recipe(epochs=4.0, lr=1e-3, lr_inside_velocity=False, precision="bf16"), 21
    ),
    "a loss that draws": (
        DROPOUT, recipe(epochs=4.0, lr=1e-3, loss=Loss(smoothing=0.3, reading="target_drop")), 21
    ),
    "a plateau and stop_below": (
        COLUMNS, recipe(epochs=9.0, lr=3e-5, schedule=Plateau(patience=1), evaluation=EVERY_EPOCH, stop_below=0.65), 21
    ),
    "clipped gradients": (COLUMNS, replace(TWENTY_STEPS, clip_norm=0.5), 21),
}  # fmt: skip
CLIPPED = list(CASES).index("clipped gradients")
EQUAL = range(CLIPPED)


@pytest.fixture(scope="module")
def alone() -> list[Trained]:
    return tower_trainings(ALONE, list(CASES.values()))


@pytest.fixture(scope="module")
def pair() -> list[list[Trained]]:
    """By rank and case."""
    return run_ranks(2, tower_trainings, list(CASES.values()))


@pytest.mark.parametrize("number", EQUAL, ids=list(CASES)[:CLIPPED])
def test_losses_errors_and_weights_are_those_of_one_process_to_the_bit(
    alone: list[Trained], pair: list[list[Trained]], number: int
) -> None:
    wanted, first, second = alone[number], pair[0][number], pair[1][number]
    assert len(losses(wanted.events)) >= 6
    assert losses(first.events) == losses(second.events) == losses(wanted.events)
    assert others(first.events) == others(second.events) == others(wanted.events)
    weights = first.weights | second.weights
    assert set(weights) == set(wanted.weights)
    assert all((weights[name] == weight).all() for name, weight in wanted.weights.items())


def test_clipped_losses_are_those_of_one_process_up_to_the_order_of_summation(
    alone: list[Trained], pair: list[list[Trained]]
) -> None:
    """The bound is 200 x 2^-24, relative, as for the grouped net in test_two_towers_run: the norm of all gradients is
    rounded in another order, a few 2^-24 in each step, which twenty steps amplify about tenfold.
    """
    wanted = losses(alone[CLIPPED].events)
    found = losses(pair[0][CLIPPED].events)
    assert found == losses(pair[1][CLIPPED].events)
    assert found == pytest.approx(wanted, rel=200 * 2**-24, abs=0)
    (unclipped,) = tower_trainings(ALONE, [(COLUMNS, TWENTY_STEPS, 21)])
    assert wanted != pytest.approx(losses(unclipped.events), rel=1e-3, abs=0)


def test_the_plateau_and_the_end_of_the_fourth_case_are_reached(alone: list[Trained]) -> None:
    """Without them the comparison above would claim too much."""
    events = alone[3].events
    assert next(event.step for event in events if isinstance(event, LrChanged)) == 10
    assert len(losses(events)) == 18 < 27


def test_the_heads_are_on_the_first_rank_and_give_the_gradients_of_one_process() -> None:
    boxed = replace(DROPOUT, box=Dense(name="box", out=4))
    wanted, gradients = boxed_step(ALONE, boxed)
    (found, first), (nothing, second) = run_ranks(2, boxed_step, boxed)
    assert (found, nothing) == (wanted, 0.0)
    together = first | second
    assert set(together) == set(gradients)
    assert "heads.box.weight" in first
    assert all((together[name] == held).all() for name, held in gradients.items())


def test_the_first_rank_counts_the_parameters_of_both(pair: list[list[Trained]]) -> None:
    (started,) = [event for event in pair[0][0].events if isinstance(event, TrainingStarted)]
    assert started.parameters == DROPOUT.parameters == sum(p.numel() for p in net(DROPOUT).parameters())


# ------------------------------------------------------------------------------------------------- checkpoints, records


def run_of_towers(world_size: int, **changes: Any) -> RunSpec:
    return replace(run_of(world_size, 21, **changes), net=NORMED, layout="two_towers")


AFTER_EACH_STEP = Evaluation(protocols=("centre",), every_epochs=0.3)


@pytest.mark.parametrize(
    "rules",
    [
        {"schedule": FixedDrops(at_epochs=(1.0,))},
        {"schedule": FixedDrops(at_epochs=(1.3,)), "fused_update": True},  # right after the checkpoint
        {"schedule": Plateau(patience=1), "evaluation": AFTER_EACH_STEP, "lr_inside_velocity": False},
    ],
    ids=["the paper's rule", "the fused rule", "torch's rule and a plateau"],
)
def test_a_checkpoint_is_that_of_one_process_and_resumes_to_the_same_bits(
    tmp_path: Path, rules: dict[str, Any]
) -> None:
    rules |= {"lr": 1e-3}
    one, two = (run_of_towers(ranks, **rules) for ranks in (1, 2))
    wanted = towers_resumed(ALONE, one, 21, 4, tmp_path)
    assert [len(part) for part in wanted] == [4, 2]
    assert run_ranks(2, towers_resumed, two, 21, 4, tmp_path) == [wanted, wanted]
    (first,), (second,) = (checkpoint_files(tmp_path / FOLDER / run.digest) for run in (one, two))
    (plain, kept), (plain_again, again) = read(first), read(second)
    for name in ("scheduler", "lr", "velocity_lrs"):
        assert plain[name] == plain_again[name]
    assert set(again) == set(kept)
    assert {"model/conv1.weight", "model/bn2.running_var", "random/cpu"} < set(kept)
    assert any(name.startswith("optimizer/") for name in kept)
    assert all(torch.equal(again[name], held) for name, held in kept.items() if name != "events")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


BOTH_PROTOCOLS = replace(AFTER_EACH_STEP, protocols=("centre", "ten_view"))
VALIDATING = run_of_towers(2, evaluation=BOTH_PROTOCOLS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """The run of both towers in one process."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(home / "cache"))
        executed(ALONE, replace(VALIDATING, world_size=1), 21, home / "results")
    (record,) = Store(home / "results").records()
    return record


@pytest.mark.parametrize("victim", [0, 1])
def test_after_a_tower_was_killed_torchrun_goes_on_to_the_bits_of_one_process(
    tmp_path: Path, whole: RunRecord, victim: int
) -> None:
    """As in test_torchrun: the victim kills itself before step 3, and there is a checkpoint after each step."""
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=1, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        run_id="towers", start_method="forkserver",
    )  # fmt: skip
    elastic_launch(config, killed_once)(VALIDATING, 21, tmp_path / "results", victim)
    (record,) = [each for each in Store(tmp_path / "results").records() if each.summary.status == "ok"]
    (again,) = [event for event in record.events() if isinstance(event, RunResumed)]
    assert again.step >= 1
    assert losses(record.events()) == losses(whole.events())
    assert record.summary.results == whole.summary.results
    assert record.summary.results["ten_view"].images == 21
    assert (record.array("conv1") == whole.array("conv1")).all()
    assert [each["rank"] for each in record.probes()["ranks"]] == [0, 1]
    assert record.spec.devices == "cpu, 2 ranks, two towers"
    assert record.summary.images_seen == whole.summary.images_seen == 42  # the batch is not divided
    assert not list((tmp_path / "results" / FOLDER).glob("*"))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_signal_to_one_rank_ends_both_with_a_checkpoint(tmp_path: Path, victim: int) -> None:
    found = run_ranks(2, executed, run_of_towers(2), 21, tmp_path / "results", "stop", victim)
    assert "SystemExit: 130" in found
    (record,) = Store(tmp_path / "results").records()
    assert record.summary.status == "interrupted"
    assert list((tmp_path / "results" / FOLDER).glob("*/*.safetensors"))


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_a_tower_that_is_killed_or_hangs_ends_the_other(tmp_path: Path, fault: str) -> None:
    run = run_of_towers(2)
    found = run_ranks(2, executed, run, 21, tmp_path / "results", fault, timeout_s=2.0)
    assert found[0].startswith("RunFailed: another rank ended without a word")
    (record,) = Store(tmp_path / "results").records()
    assert record.summary.status == "failed"


def test_the_command_under_torchrun_leaves_one_record_and_the_grouped_nets_weights(
    said: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    weights = tmp_path / "weights.safetensors"
    words = ("--placement", "two_towers", "--set", "epochs=0.4", "--save-weights", str(weights))
    codes, out, err = said(*RUN, *FEW, *words)
    assert codes == ["SystemExit: 0", "SystemExit: 0"], err
    assert len(out) == 1
    (record,) = Store(tmp_path / "results").records()
    assert (record.spec.layout, record.spec.world_size) == ("two_towers", 2)
    from variants.modules.alexnet import build
    from variants.weights import load_weights

    load_weights(weights, build(record.spec.net, device="cpu"))


# ------------------------------------------------------------------------------------------------- devices and refusals


def test_each_rank_has_its_tower_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "torch", FakeTorch)
    where = run_placement("cuda", None, 1, "auto", SECOND | {"WORLD_SIZE": "2"}, "two_towers")
    assert (where.device, where.second_device) == ("cuda:1", None)


@pytest.mark.parametrize("ranks", [3, 4])
def test_other_numbers_of_ranks_than_two_are_refused(ranks: int) -> None:
    with pytest.raises(
        UsageError, match=f"^two towers need 2 ranks, not {ranks}; use torchrun --nproc-per-node 2$"
    ):
        refuse_unsuitable(run_of_towers(ranks))
    refuse_unsuitable(run_of_towers(2))
    refuse_unsuitable(run_of_towers(1))


def test_towers_on_two_devices_draw_the_masks_of_towers_on_one() -> None:
    with torch.device("meta"):
        two = Towers(DROPOUT, ("cuda:0", "cuda:1"))
    assert [two.get_submodule(f"tower{side}.drop6").side for side in (0, 1)] == [0, 1]
    maps = torch.ones(4, 16)
    wanted = torch.manual_seed(1) and [torch.dropout(maps, 0.5, True) for _ in range(2)]
    found = [torch.manual_seed(1) and ColumnDropout(0.5, side)(maps) for side in (0, 1)]
    assert torch.equal(torch.stack(found), torch.stack(wanted))
    assert not torch.equal(found[0], found[1])
    assert isinstance(
        split(net(DROPOUT), ("cpu", "cpu")).get_submodule("tower0.drop6"), torch.nn.Dropout
    )
