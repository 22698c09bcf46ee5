"""`--set compile=true`: one graph for forward pass and loss, the same loss as without, recorded, or refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from calling import run_on
from tiny_training import CPU, recipe

from harness.errors import UsageError
from harness.events import StepsDone
from harness.loss import COMPILE_OPTIONS, check_compiler, maybe_compiled, training_loss
from harness.records.store import RunRecord
from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.layers import LRN, Activation, Conv, Dense, Pool
from variants.modules.alexnet import AlexNet, build
from variants.recipes.recipe import Loss
from variants.spec import AlexNetSpec

SMALL = AlexNetSpec(
    input_size=8,
    layers=(
        Conv(name="conv1", out=4, kernel=3),
        Activation(name="relu1"),
        LRN(name="norm1", groups=2),
        Pool(name="pool1"),
        Dense(name="fc8", out=10),
    ),
)


def batch(spec: AlexNetSpec, count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, 3, spec.input_size, spec.input_size, generator=generator) * 60
    return images.contiguous(memory_format=torch.channels_last), torch.arange(count) % 10


# norms that are one operation with the pooling after them, on the CPU with numba
FUSED = {"grouped_2gpu": 2, "code_2012": 1, "article": 0, "spatial_lrn": 0, "cifar_11pct": 1}


@pytest.mark.parametrize("name", FUSED)
def test_a_net_and_its_loss_are_one_graph_with_one_operation_for_each_norm(name: str) -> None:
    row = CATALOG[name]
    net = build(spec_for(row, "mini" if "mini" in row.geometries else "cifar", 10))
    images, labels = batch(net.spec)
    boxes = torch.rand(len(labels), 4) if net.spec.box else None
    graphs: list[torch.fx.GraphModule] = []

    def collect(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(training_loss, backend=collect, fullgraph=True)
    compiled(net, images, labels, boxes, Loss(box_weight=1.0))
    (graph,) = graphs
    if torch.__version__.startswith("2.11."):
        pytest.skip("torch 2.11 gives torch.compile the norms in operations of torch; see lrn.py")
    norms = ("response_norm", "relu_norm_pool")
    nodes = [str(node.target) for node in graph.graph.nodes]
    called = [target for target in nodes if any(norm in target for norm in norms)]
    assert sum("relu_norm_pool" in target for target in called) == FUSED[name]
    assert len(called) == sum(layer.kind in ("lrn", "spatial_lrn") for layer in net.spec.layers)


def step(net: AlexNet, **changes: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one step."""
    images, labels = batch(net.spec)
    _, loss = maybe_compiled(recipe(**changes))(net, images, labels, None, Loss())
    loss.backward()
    return loss.item(), {
        name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None
    }


def test_compiled_code_has_the_loss_and_gradients_of_eager_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By torch's backend that stops after tracing both passes: compiling C++ takes 20 CPU seconds (tests/gpu does)."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", fullgraph=True))
    torch._dynamo.reset()
    made = [build(SMALL, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    (eager, wanted), (compiled, grads) = step(made[0]), step(made[1], compile=True)
    assert compiled == pytest.approx(eager, rel=1e-6)
    for name, grad in wanted.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-5, atol=1e-6 * float(grad.abs().max()))


def test_a_run_with_compile_is_recorded_and_trains(
    call: Any, class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch.compile is asked for is noted and left as it is."""
    calls: list[Any] = []

    def compiled(function: Any, options: Any) -> Any:
        calls.append(function)
        assert options == COMPILE_OPTIONS
        return partial(function)

    monkeypatch.setattr(torch, "compile", compiled)
    words = run_on(class_folders)
    assert call(*words, "--set", "compile=true").code == 0
    assert calls == [training_loss]
    (record,) = (
        RunRecord.load(path) for path in (tmp_path / "results").iterdir() if path.name[0].isdigit()
    )
    assert record.spec.recipe.compile
    assert record.spec.overrides == ("compile=true",)
    assert [event for event in record.events() if isinstance(event, StepsDone)]


def test_torch_knows_the_options_of_compilation() -> None:
    torch.compile(training_loss, options=COMPILE_OPTIONS)
    with pytest.raises(RuntimeError, match="no_such_option"):
        torch.compile(training_loss, options={"cpp.no_such_option": True})


def test_without_a_compiler_it_is_refused_before_anything_is_written(
    call: Any, class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.loss.COMPILERS", ("no-such-compiler",))
    words = run_on(class_folders)
    said = call(*words, "--set", "compile=true")
    assert (said.code, said.error) == (
        2,
        "compile=true needs a C++ compiler; install g++, or use --set compile=false",
    )
    assert not list((tmp_path / "results").glob("*-no_lrn-*"))
    with pytest.raises(UsageError):
        check_compiler(recipe(compile=True), CPU)
    check_compiler(recipe(compile=True), torch.device("cuda"))  # Triton compiles there
    check_compiler(recipe(), CPU)
