"""The peers of step and loader: the same work, in the same process or counted from another one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from harness.bench import loader_peers, step_peers
from harness.bench.timing import Elsewhere
from harness.data.base import Prepared
from harness.errors import RunFailed
from harness.resolve import RunRequest, prepare_for, run_spec
from harness.spec import RunSpec

CPU = torch.device("cpu")


def spec_of(variant: str, recipe: str) -> RunSpec:
    request = RunRequest(variant, recipe, "synthetic", 0, limits=(16, 8))
    return run_spec(request, prepare_for(request, "folder"), "cpu")


def test_torchvisions_own_net_is_the_peer_only_where_it_is_the_network_of_the_run() -> None:
    name, net = step_peers.stock_network(spec_of("one_weird_trick", "torchvision"))
    assert name == "torchvision"
    assert type(net).__module__ == "torchvision.models.alexnet"
    name, net = step_peers.stock_network(spec_of("grouped_2gpu", "mini"))
    assert name == "torch"
    kinds = {type(module) for module in net.modules()}
    assert nn.LocalResponseNorm in kinds
    assert not any(kind.__name__ == "ResponseNorm" for kind in kinds)


def test_stock_normalisation_gives_the_same_numbers_in_a_net_without_groups() -> None:
    """float32; the activations are those of random weights, so the bound is relative to their size."""
    spec = spec_of("ungrouped", "mini")
    _, stock = step_peers.stock_network(spec)
    images = torch.randn(4, 3, 32, 32)
    own = step_peers._own_network(spec)
    torch.testing.assert_close(stock.eval()(images), own.eval()(images), rtol=1e-4, atol=1e-5)


def test_each_peer_of_the_step_trains_the_whole_batch(
    measured: tuple[RunSpec, Prepared], brief: None
) -> None:
    ways, missing = step_peers.step_peers(measured[0], CPU, compiled=False)
    assert (set(ways), missing) == ({"torch_eager", "timm_benchmark"}, {})
    for way in ways.values():
        images = way()
        assert isinstance(images, int)
        assert images > 0
        assert images % measured[0].recipe.batch_size == 0


def test_without_a_compiler_the_compiled_peer_is_left_out_with_the_reason(
    measured: tuple[RunSpec, Prepared], brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_peers, "COMPILERS", ("no-such-compiler",))
    ways, missing = step_peers.step_peers(measured[0], CPU, compiled=True)
    assert "torch_compile" not in ways
    assert missing == {"torch_compile": "torch.compile needs a C++ compiler here; install g++"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "all").mkdir()
    draw = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(draw.integers(0, 256, (36, 36, 3), dtype=np.uint8)).save(
            tmp_path / f"all/{i}.png"
        )
    return tmp_path


def test_each_loader_gives_crops_of_the_files_as_often_as_asked(files: Path) -> None:
    for made in (
        loader_peers._torchvision(files, 32, 8, 0, 3, "pil"),
        loader_peers._torchvision(files, 32, 8, 0, 3, "tensor"),
    ):
        images, _ = next(iter(made))
        assert (images.shape, images.dtype) == ((8, 3, 32, 32), torch.uint8)
        assert loader_peers._images(made) == 60
    # in a worker: timm leaves files open, which warns here
    timm = loader_peers._timm(files, 32, 8, 1, 3)
    images, _ = next(iter(timm))
    assert (images.shape, images.dtype) == ((8, 3, 32, 32), torch.float32)
    assert loader_peers._images(timm) == 56  # timm leaves out a last batch that is not full


def test_both_decoders_give_the_same_pixels(files: Path) -> None:
    crops = []
    for decoder in ("pil", "tensor"):
        loader = loader_peers._torchvision(files, 36, 1, 0, 1, decoder)
        image = loader.dataset.datasets[0][3][0]
        crops.append(image)
    assert torch.equal(crops[0], crops[1]) or torch.equal(crops[0], crops[1].flip(-1))


def test_a_loader_in_another_process_counts_its_own_cpu_seconds() -> None:
    answers = "import sys\nfor line in sys.stdin: print(100, 2.5, flush=True)"
    with loader_peers.OtherProcess([sys.executable, "-c", answers]) as other:
        assert [other(), other()] == [Elsewhere(100, 2.5)] * 2
    assert other.process.returncode == 0


def test_a_loader_whose_process_dies_is_an_error() -> None:
    with (
        loader_peers.OtherProcess([sys.executable, "-c", "input()"]) as other,
        pytest.raises(RunFailed, match="ended; its message is above"),
    ):
        other()


@pytest.mark.soak
def test_ffcvs_own_loader_works_in_a_process_of_its_own(tmp_path: Path) -> None:
    """It compiles for some 10 s."""
    pytest.importorskip("ffcv")
    from harness.data.ffcv.write import write_beton
    from harness.data.prepare.manifest import StoreSettings

    image = np.random.default_rng(0).integers(0, 256, (36, 36, 3), dtype=np.uint8)
    stored = tmp_path / "train.beton"
    write_beton(
        stored, 40, lambda i: (image, i % 3, (0, 0, 1, 1)), StoreSettings(store_size=36), boxes=True
    )
    with loader_peers.OtherProcess(loader_peers.stock_ffcv(stored, 32, 8, 1)) as stock:
        found = stock()
    assert found.images > 0
    assert found.images % 40 == 0
    assert found.cpu_s > 0
