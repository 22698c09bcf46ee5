"""`--placement two_towers`: the columns of a net on two devices train as the grouped net on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import Call
from tasks import events_of, losses, run_of
from test_torchrun import FakeTorch
from tiny_training import SIDE, net, recipe

from harness import devices
from harness.checkpoint import Checkpoints
from harness.devices import run_placement
from harness.distributed.data_parallel import refuse_unsuitable
from harness.distributed.ranks import ALONE
from harness.errors import UsageError
from harness.records.store import RunRecord, Store
from harness.spec import RunSpec
from harness.train import TrainState
from variants.layers import LRN, Activation, Conv, Dense, Dropout, Init, Pool
from variants.modules.network import Network
from variants.modules.towers import split
from variants.recipes.recipe import FixedDrops, Recipe
from variants.spec import AlexNetSpec

RESULTS = Path(__file__).parents[2] / "results"
HE = Init(scheme="he_normal")
COLUMNS = AlexNetSpec(
    input_size=SIDE,
    layers=(
        Conv(name="conv1", out=8, kernel=3),
        Activation(name="relu1"),
        LRN(name="norm1", groups=2),
        Pool(name="pool1"),
        Conv(name="conv2", out=8, kernel=3, padding=1, groups=2, init=HE),
        Activation(name="relu2"),
        Conv(name="conv3", out=8, kernel=3, padding=1, init=HE),
        Activation(name="relu3"),
        Dense(name="fc6", out=16, init=HE),
        Activation(name="relu6"),
        Dense(name="fc8", out=10, init=HE),
    ),
)
# 3 batches an epoch
TWENTY_STEPS = recipe(epochs=20 / 3, lr=1e-3, schedule=FixedDrops(at_epochs=(4.0,)))


def towers(spec: AlexNetSpec = COLUMNS) -> Network:
    return split(net(spec), ("cpu", "cpu"))


def curve(model: Network, rules: Recipe = TWENTY_STEPS) -> list[float]:
    return losses(list(events_of(ALONE, TrainState.start(model, rules), rules, 21)))


def in_float64(model: Network) -> Network:
    model.double().register_forward_pre_hook(lambda _, images: (images[0].double(),))
    return model


def test_twenty_losses_in_float64_are_those_of_the_grouped_net() -> None:
    """The bound is 4 x 2^-24, relative: scores are rounded to float32 before the loss, which is recorded as float32.

    In float64, gradients that come back through a crosslink differ by about 1e-15 for the order of summation. Twenty
    steps don't make a rounding of float32, 6e-8, of it: in the test below they amplify differences about tenfold.
    """
    wanted = curve(in_float64(net(COLUMNS)))
    assert len(wanted) == 20
    assert wanted[-1] < 0.7 * wanted[0]
    assert curve(in_float64(towers())) == pytest.approx(wanted, rel=4 * 2**-24, abs=0)


def test_twenty_losses_in_float32_stay_near_those_of_the_grouped_net() -> None:
    """The bound is 200 x 2^-24, relative; measured: at most 20.

    A step rounds scores and gradients in another order: a few 2^-24. At this lr twenty steps amplify that tenfold.
    The net has no dropout, for which towers draw other masks.
    """
    assert curve(towers()) == pytest.approx(curve(net(COLUMNS)), rel=200 * 2**-24, abs=0)


@pytest.mark.parametrize(
    "rules", [TWENTY_STEPS, recipe(lr=1e-3, lr_inside_velocity=False)], ids=["paper", "torch"]
)
def test_a_resumed_training_of_towers_equals_an_uninterrupted_one_to_the_bit(
    tmp_path: Path, rules: Recipe
) -> None:
    spec = COLUMNS.before("fc8", Dropout(name="drop6"))
    whole = curve(towers(spec), rules)
    state = TrainState.start(towers(spec), rules)
    before = losses(list(events_of(ALONE, state, rules, 21, stop=lambda: state.done >= 4)))
    run = RunSpec(
        variant="tiny",
        geometry="mini",
        net=spec,
        recipe=rules,
        data=data(),
        seed=0,
        layout="two_towers",
    )
    checkpoints = Checkpoints(tmp_path, run, 600.0, lambda: 0.0)
    checkpoints.save(state, [], "run-1")
    random = torch.get_rng_state()
    again = TrainState.start(towers(spec), rules)
    assert checkpoints.load(again) is not None
    assert torch.equal(torch.get_rng_state(), random)
    after = losses(list(events_of(ALONE, again, rules, 21, seed=None)))
    assert before + after == whole


def data() -> Any:
    from tiny_training import prepared

    return prepared(21).spec


RUN = (
    "run",
    "--data",
    "synthetic",
    "--device",
    "cpu",
    "--limit-train",
    "70",
    "--limit-val",
    "20",
    "--threads",
    "1",
)


def test_a_run_of_two_towers_is_another_run_with_the_same_initial_net(call: Call) -> None:
    for number, placement in enumerate(("one_device", "two_towers")):
        said = call(
            *RUN, "--variant", "grouped_2gpu", "--placement", placement, "--results", f"results{number}"
        )
        assert said.code == 0, said.err
    one, two = (Store(Path(f"results{number}")).records()[0] for number in range(2))
    assert (one.env.placement.second_device, two.env.placement.second_device) == (None, "cpu")
    assert two.spec.layout == "two_towers"
    assert one.spec.digest != two.spec.digest
    assert two.spec.digest == two.summary.spec_digest
    assert two.summary.parameters == one.summary.parameters
    curves = [losses(record.events()) for record in (one, two)]
    assert curves[0][0] == pytest.approx(curves[1][0], rel=0.1)
    assert curves[0] != curves[1]  # dropout masks differ
    assert np.abs(one.array("conv1").astype(float) - two.array("conv1")).max() < 0.05


def test_a_net_without_two_columns_is_refused_in_a_sentence(call: Call) -> None:
    said = call(*RUN, "--variant", "ungrouped", "--placement", "two_towers")
    assert said.code == 2
    assert said.error.startswith(
        "ungrouped can't run as two towers: norm1: kind=lrn can't be divided into two columns"
    )


def test_a_compiled_run_of_two_towers_or_of_several_ranks_is_refused(call: Call) -> None:
    said = call(*RUN, "--variant", "grouped_2gpu", "--placement", "two_towers", "--set", "compile=true")
    assert said.code == 2
    assert (
        said.error
        == "compile=true works on one device; use --set compile=false with --placement two_towers"
    )
    with pytest.raises(UsageError, match="compile=true works with one rank"):
        refuse_unsuitable(run_of(2, compile=True))


def test_the_layout_leaves_the_digests_of_older_runs_as_they_were() -> None:
    folders = Store(RESULTS).reference_folders()
    assert folders
    for record in map(RunRecord.load, folders):
        assert record.spec.layout == "one_device"
        assert record.spec.digest == record.summary.spec_digest


class OneGpu(FakeTorch):
    class cuda(FakeTorch.cuda):  # noqa: N801  # as torch has it
        @staticmethod
        def device_count() -> int:
            return 1


def test_towers_use_two_gpus_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def placed(device: str) -> tuple[str, str | None]:
        where = run_placement(device, 1, 1, "auto", {}, "two_towers")
        return where.device, where.second_device

    monkeypatch.setattr(devices, "torch", FakeTorch)
    assert placed("cuda") == placed("auto") == ("cuda:0", "cuda:1")
    assert placed("cuda:1") == ("cuda:1", "cuda:1")
    assert placed("cpu") == ("cpu", "cpu")
    monkeypatch.setattr(devices, "torch", OneGpu)
    assert placed("cuda") == ("cuda", "cuda")
    with pytest.raises(UsageError, match="device 'cuda:7' can't be used"):
        placed("cuda:7")
