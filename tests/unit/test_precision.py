"""Precision is one choice: what it sets in torch, that it is restored, and that a record and its bench key name it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.events import Event, StepsDone
from harness.machine.collect_env import bench_key
from harness.precision import autocast, float32_precision
from harness.records.store import RunRecord, Store
from harness.resolve import RunRequest, run_spec
from harness.run import Placement, evaluate_weights, execute
from variants.modules.alexnet import AlexNet, build
from variants.recipes.recipe import Precision
from variants.weights import save_weights

Flags = tuple[str, bool, bool]


def flags() -> Flags:
    backends = torch.backends
    return (
        torch.get_float32_matmul_precision(),
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
    )


def losses(record: RunRecord) -> list[tuple[float, ...]]:
    return [event.losses for event in record.events() if isinstance(event, StepsDone)]


def set_flags(float32_matmul: str, matmul: bool, cudnn: bool) -> None:
    torch.set_float32_matmul_precision(float32_matmul)
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn


@pytest.fixture(autouse=True)
def flags_as_before() -> Iterator[None]:
    before = flags()
    yield
    set_flags(*before)


STARTS = [("highest", False, True), ("high", True, True), ("highest", False, False)]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("precision", "wanted"),
    [
        ("fp32", ("highest", False, False)),
        ("tf32", ("high", True, True)),
        ("bf16", ("highest", False, False)),
    ],
)
def test_a_precision_sets_all_flags_and_restores_them(
    precision: Precision, wanted: Flags, start: Flags
) -> None:
    set_flags(*start)
    before = flags()
    with float32_precision(precision):
        assert flags() == wanted
    assert flags() == before


def test_flags_are_restored_after_an_error() -> None:
    before = flags()
    with pytest.raises(RuntimeError), float32_precision("tf32"):
        raise RuntimeError("the run fails")
    assert flags() == before


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", False), ("tf32", False), ("bf16", True)])
def test_only_bf16_is_an_autocast(precision: Precision, wanted: bool) -> None:
    with autocast(precision, torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") == wanted
    assert not torch.is_autocast_enabled("cpu")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RunRecord]]:
    """Executes a short run of the mini geometry in this process; `listen` gets its events."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    request = RunRequest("single_gpu", "mini", "synthetic", 0, limits=(128, 64))

    def execute_one(
        precision: Precision, listen: Callable[[Event], None] = lambda event: None
    ) -> RunRecord:
        prepared = prepare("synthetic", StoreSettings(store_size=36, limit=request.limits))
        spec = run_spec(request, prepared, "cpu")
        spec = replace(spec, recipe=replace(spec.recipe, precision=precision))
        return execute(spec, prepared, Store(tmp_path / "results"), Placement(), listen)

    yield execute_one
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.mark.parametrize(
    ("precision", "matmul", "allowed"), [("fp32", "highest", False), ("tf32", "high", True)]
)
def test_a_run_has_its_precision_from_start_to_end_and_records_it(
    run: Callable[..., RunRecord], precision: Precision, matmul: str, allowed: bool
) -> None:
    set_flags("high" if precision == "fp32" else "highest", not allowed, not allowed)
    before, seen = flags(), set[Flags]()
    record = run(precision, lambda event: seen.add(flags()))
    assert seen == {(matmul, allowed, allowed)}
    assert flags() == before
    env = json.loads((record.path / "env.json").read_text())
    assert env["torch"]["float32_matmul_precision"] == matmul
    assert bench_key(record.env, record.spec)["precision"] == precision


def test_a_bf16_run_is_evaluated_in_bf16_and_leaves_the_next_run_as_it_was(
    run: Callable[..., RunRecord],
) -> None:
    first, half, again = run("fp32"), run("bf16"), run("fp32")
    found = [
        [event.losses for event in record.events() if isinstance(event, StepsDone)]
        for record in (first, half, again)
    ]
    assert found[0] == found[2] != found[1]
    assert first.summary.results == again.summary.results != half.summary.results


def test_weights_are_evaluated_in_the_recipes_precision(
    run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec, seen = run("fp32").spec, list[tuple[Flags, bool]]()
    prepared = prepare("synthetic", StoreSettings(store_size=36, limit=(128, 64)))
    save_weights(build(spec.net), tmp_path / "weights.safetensors")
    forward = AlexNet.forward

    def watched(net: AlexNet, images: torch.Tensor) -> torch.Tensor:
        seen.append((flags(), torch.is_autocast_enabled("cpu")))
        return forward(net, images)

    monkeypatch.setattr(AlexNet, "forward", watched)
    for precision in ("fp32", "tf32", "bf16"):
        changed = replace(spec, recipe=replace(spec.recipe, precision=precision))
        evaluate_weights(changed, prepared, tmp_path / "weights.safetensors", Placement())
    wanted = [
        (("highest", False, False), False),
        (("high", True, True), False),
        (("highest", False, False), True),
    ]
    assert list(dict.fromkeys(seen)) == wanted
