"""The GPU kernels of response normalisation: run by Triton's interpreter on the CPU, and compiled for GPUs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from variants.modules import lrn

pytest.importorskip(
    "triton", reason="Triton, which comes with torch's wheels for CUDA, is not installed"
)

HERE = Path(__file__).parent
BOUNDS = {
    "float32": 2e-6,  # a few roundings of 6e-8 in sums of up to 9 terms, a root of a root, and their backward pass
    "bfloat16": 2
    ** -7,  # of one rounding, at the largest value; the interpreter cuts digits off where a GPU rounds
}


@pytest.fixture(scope="module")
def errors() -> dict[str, tuple[float, float]]:
    environ = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": str(HERE.parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "lrn_triton_cases.py")],
        env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, tuple[float, float]] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("dtype", BOUNDS)
def test_both_passes_equal_torch_in_float64_to_rounding(
    errors: dict[str, tuple[float, float]], dtype: str
) -> None:
    found = {name: pair for name, pair in errors.items() if name.endswith(dtype)}
    assert len(found) == {"float32": 22, "bfloat16": 6}[dtype]
    assert {name: pair for name, pair in found.items() if not max(pair) < BOUNDS[dtype]} == {}


@pytest.mark.parametrize("capability", [80, 90])
def test_it_compiles_for_gpus_and_loads_each_value_once_per_neighbour(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a window of 5, an output needs 5 inputs; a gradient needs 9 inputs and 5 gradients. Needs no GPU."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from variants.modules import lrn_triton

    for kernel, tensors, loads in ((lrn_triton._forward, 2, 5), (lrn_triton._backward, 3, 14)):
        ptx = _compiled(kernel, tensors, capability)
        counts = {name: len(re.findall(pattern, ptx)) for name, pattern in PATTERNS.items()}
        assert counts == {"loads": 8 * loads, "stores": 8, "atomics": 0, "barriers": 0}


PATTERNS = {
    "loads": r"ld\.global",
    "stores": r"st\.global",
    "atomics": r"\batom\.|\bred\.",
    "barriers": r"bar\.sync",
}


def _compiled(kernel: Any, tensors: int, capability: int) -> str:
    """The kernel's code for a tile of 1024 elements of channels_last float32, 8 for each of 128 threads."""
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {"reach": 2, "tile_pixels": 16, "tile_maps": 64, "roots": True, "map_stride": 1}
    names = kernel.arg_names
    kinds = {name: "fp32" if name in ("scale", "beta", "k") else "i32" for name in names}
    kinds |= dict.fromkeys(names[:tensors], "*fp32") | dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, kinds, {(names.index(name),): held for name, held in constants.items()})
    made = compiled(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
    ptx: str = made.asm["ptx"]
    return ptx


def test_what_the_kernels_cannot_do_is_left_to_torch() -> None:
    from variants.modules.lrn_triton import usable

    x = torch.zeros(2, 40, 4, 4)
    assert usable(x, 5, 2)
    assert usable(x.contiguous(memory_format=torch.channels_last), 17, 1)
    assert usable(x, 99, 20)  # no more than two maps in a group
    for other in (x.double(), x[:0], x.transpose(1, 2), x[..., 1:]):
        assert not usable(other, 5, 1)
    assert not usable(x, 19, 1)  # its unrolled loops would have 361 steps


class Kernels:
    """In place of lrn_triton on a machine where Triton does or does not launch."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def forward(self, x: torch.Tensor, *rest: float) -> torch.Tensor:
        if self.error is not None:
            raise self.error
        return x


def test_a_gpu_without_working_triton_is_left_to_torch_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = lrn._loaded_for.__wrapped__
    monkeypatch.setattr(
        lrn, "import_module", lambda name: Kernels(RuntimeError("Failed to find C compiler"))
    )
    with pytest.warns(UserWarning, match=r"runs without Triton, slower: Failed to find C compiler"):
        assert load(torch.device("cpu")) is None
    works = Kernels(None)
    monkeypatch.setattr(lrn, "import_module", lambda name: works)
    assert load(torch.device("cpu")) is works


def test_without_triton_torch_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "variants.modules.lrn_triton", None)
    assert lrn._loaded_for.__wrapped__(torch.device("cpu")) is None
