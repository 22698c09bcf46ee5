"""Data parallelism on gloo: ranks that share each batch train as one rank does, and end together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_ranks
from tasks import Trained, executed, losses, resumed, run_of, trainings
from tiny_training import BOXED, NET, net, recipe

from harness.checkpoint import FOLDER, Checkpoints
from harness.distributed.data_parallel import refuse_unsuitable, seed_dropout
from harness.distributed.ranks import ALONE, Ranks
from harness.errors import UsageError
from harness.events import Evaluated, Event, LrChanged, TrainingDone
from harness.machine.environment import UsedGpu
from harness.placement import Placement
from harness.records.store import Store
from harness.report.evidence import _key
from harness.run import _describe
from harness.train import TrainState
from variants.catalog import CATALOG
from variants.recipes.recipe import Augmentation, Evaluation, FixedDrops, Loss, Plateau

WITHOUT_DROPOUT = NET.without("drop1")
NOISE = Augmentation(colour_std=0.1, images_per_draw=3)
EVERY_EPOCH = Evaluation(protocols=("centre",), every_epochs=1.0, training_error=True)
# Batches of 8 images: 21 images end with a batch of 5, and 17 with a batch of 1, which leaves ranks without images.
CASES = {
    "the paper's rule, drops, noise": (
        WITHOUT_DROPOUT, recipe(epochs=7.0, lr=1e-3, augmentation=NOISE, schedule=FixedDrops(at_epochs=(3.0,))), 21
    ),
    "torch's rule, clipped gradients": (
        WITHOUT_DROPOUT, recipe(epochs=7.0, lr=1e-3, lr_inside_velocity=False, clip_norm=0.5), 17
    ),
    "a plateau and stop_below": (
        WITHOUT_DROPOUT, recipe(epochs=9.0, schedule=Plateau(patience=1), evaluation=EVERY_EPOCH, stop_below=0.75), 21
    ),
    "a box head that is not trained": (
        replace(BOXED, layers=WITHOUT_DROPOUT.layers), recipe(loss=Loss(box_weight=0.0), weight_decay=0.1), 17
    ),
}  # fmt: skip
Found = list[list[Trained]]  # by rank and case


@pytest.fixture(scope="module")
def alone() -> list[Trained]:
    return trainings(ALONE, list(CASES.values()))


@pytest.fixture(scope="module", params=[2, 4])
def together(request: pytest.FixtureRequest) -> Found:
    return run_ranks(request.param, trainings, list(CASES.values()))


def others(events: list[Event]) -> list[Any]:
    """The other events, without times and log losses."""
    kept = [event for event in events if isinstance(event, LrChanged | Evaluated)]
    names = ("step", "lr", "split", "top1_error", "top5_error", "images")
    done = [(event.steps, event.images) for event in events if isinstance(event, TrainingDone)]
    return [tuple(getattr(event, name, None) for name in names) for event in kept] + done


@pytest.mark.parametrize("number", range(len(CASES)), ids=list(CASES))
def test_losses_are_those_of_one_rank_up_to_the_order_of_summation(
    alone: list[Trained], together: Found, number: int
) -> None:
    """The bound is 16 x 2^-24, relative. Ranks only change the order in which float32 numbers are added.

    n numbers of one sign added in another order differ by at most (n - 1) x 2^-24 of their sum: 7 for the 8 losses of
    a batch, and two more roundings for the weights of the slices. That the weights before a step differ adds to it:
    their differences are of the same relative size, but times the lr, at most 1e-3, and they grow by one such term in
    each of at most 27 steps. Measured: at most 5 x 2^-24. The network has no dropout, whose masks depend on the rank.
    """
    wanted = losses(alone[number].events)
    assert len(wanted) >= 6
    assert losses(together[0][number].events) == pytest.approx(wanted, rel=16 * 2**-24, abs=0)


@pytest.mark.parametrize("number", range(len(CASES)), ids=list(CASES))
def test_errors_schedules_and_counts_are_those_of_one_rank(
    alone: list[Trained], together: Found, number: int
) -> None:
    assert others(together[0][number].events) == others(alone[number].events)


def test_all_ranks_have_the_same_losses_and_weights_to_the_bit(together: Found) -> None:
    for case in zip(*together, strict=True):
        for other in case[1:]:
            assert losses(other.events) == losses(case[0].events)
            for name, weight in case[0].weights.items():
                assert (other.weights[name] == weight).all(), name


def test_the_plateau_and_the_end_of_the_third_case_are_reached(alone: list[Trained]) -> None:
    """Without them the comparison above would claim too much."""
    assert [event.step for event in alone[2].events if isinstance(event, LrChanged)] == [10]
    assert len(losses(alone[2].events)) == 15 < 27


def test_a_resumed_training_of_four_ranks_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path,
) -> None:
    """With dropout, and enough weights for two buckets of DDP, which it fills in another order in its first step."""
    wide = NET.but(conv1={"out": 1200})
    found = run_ranks(4, resumed, wide, recipe(epochs=2.0), 18, 3, tmp_path)
    for whole, again in found:
        assert len(whole) == 6
        assert again == whole


def test_dropout_masks_follow_from_seed_step_and_rank() -> None:
    def mask(seed: int, step: int, rank: int) -> list[float]:
        seed_dropout(net(), Ranks(rank, 2), seed, step)
        return torch.rand(4).tolist()

    assert mask(0, 5, 1) == mask(0, 5, 1)
    assert len({tuple(mask(*key)) for key in [(0, 5, 1), (1, 5, 1), (0, 6, 1), (0, 5, 0)]}) == 4
    torch.manual_seed(7)
    before = torch.get_rng_state()
    seed_dropout(net(), ALONE, 0, 5)
    assert torch.equal(torch.get_rng_state(), before)


# ----------------------------------------------------------------------------------------------------------- the record


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def test_one_record_holds_the_run_and_what_each_rank_used(tmp_path: Path) -> None:
    path, *others_ = run_ranks(2, executed, run_of(2), 20, tmp_path / "results")
    (record,) = Store(tmp_path / "results").records()
    assert (str(record.path), others_) == (path, ["followed"])
    assert (record.summary.status, record.summary.images_seen, record.spec.world_size) == ("ok", 40, 2)
    assert record.summary.results["centre"].images == 20
    assert [each["rank"] for each in record.probes()["ranks"]] == [0, 1]
    assert record.env.used_gpus == ()
    assert not list((tmp_path / "results" / FOLDER).glob("*"))


def test_the_environment_names_the_gpus_of_all_ranks(tmp_path: Path) -> None:
    """On the CPU there are none, so the second rank's is made up."""

    class Two(Ranks):
        def gather(self, mine: Any) -> list[Any]:
            return [mine, (UsedGpu(name="H100", uuid="GPU-b"),)]

    env = _describe(tmp_path, Placement(), Two(0, 2))
    assert env.used_gpus == (UsedGpu(name="H100", uuid="GPU-b"),)


def test_the_first_rank_to_fail_gives_the_reason_and_all_end(tmp_path: Path) -> None:
    found = run_ranks(2, executed, run_of(2), 20, tmp_path / "results", "raise")
    assert found == ["SystemExit: 4", "RunFailed: the disk of rank 1 is gone"]
    (record,) = Store(tmp_path / "results").records()
    assert record.summary.status == "failed"
    assert "the disk of rank 1 is gone" in str(record.summary.status_reason)


@pytest.mark.parametrize("fault", ["kill", "hang"])
def test_a_rank_that_is_killed_or_hangs_ends_all(tmp_path: Path, fault: str) -> None:
    found = run_ranks(2, executed, run_of(2), 20, tmp_path / "results", fault, timeout_s=2.0)
    assert (
        found[0]
        == "RunFailed: another rank ended without a word; it was killed, or out of memory, or hangs"
    )
    assert found[1] == (None if fault == "kill" else "SystemExit: 4")
    (record,) = Store(tmp_path / "results").records()
    assert record.summary.status == "failed"


def test_a_signal_to_any_rank_stops_all_with_the_same_step_and_a_checkpoint(tmp_path: Path) -> None:
    found = run_ranks(2, executed, run_of(2), 20, tmp_path / "results", "stop")
    assert found[0] == "Terminated: SIGTERM" or found[1] == "Terminated: SIGTERM"
    assert "SystemExit: 130" in found
    (record,) = Store(tmp_path / "results").records()
    assert record.summary.status == "interrupted"
    assert list((tmp_path / "results" / FOLDER).glob("*/*.safetensors"))


def test_a_checkpoint_of_another_world_size_is_refused(tmp_path: Path) -> None:
    """Its folder is another one, since the digest covers the world size; and so does what is in the file."""
    one, two = run_of(1), run_of(2)
    assert one.digest != two.digest
    torch.manual_seed(0)
    state = TrainState.start(net(), one.recipe)
    Checkpoints(tmp_path, one, 600.0, lambda: 0.0).save(state, [], "run-1")
    assert Checkpoints(tmp_path, two, 600.0, lambda: 0.0).load(state) is None
    (tmp_path / FOLDER / one.digest).rename(tmp_path / FOLDER / two.digest)
    with pytest.raises(UsageError, match="has spec_digest"):
        Checkpoints(tmp_path, two, 600.0, lambda: 0.0).load(state)


def test_a_report_compares_runs_of_one_world_size_only() -> None:
    """Equal seeds of one and of two ranks are two runs; in one setting one would hide the other."""
    assert [run_of(n).devices for n in (1, 2)] == ["cpu", "cpu, 2 ranks"]
    assert replace(run_of(1), device="cuda", layout="two_towers").devices == "cuda, two towers"
    assert _key(run_of(1), None) != _key(run_of(2), None)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_batch_smaller_than_the_number_of_ranks_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"^a global batch of 8 images is too small for 9 ranks; use fewer ranks or"
    ):
        refuse_unsuitable(run_of(9))
    refuse_unsuitable(run_of(8))


@pytest.mark.parametrize("name", ["batch_norm", "article"])
def test_batch_normalisation_is_refused_for_several_ranks(name: str) -> None:
    spec = replace(run_of(2), variant=name, net=CATALOG[name].spec)
    with pytest.raises(
        UsageError, match=rf"^{name} has batch normalisation \(.*\), which would see a rank's slice"
    ):
        refuse_unsuitable(spec)
    refuse_unsuitable(replace(spec, world_size=1))
