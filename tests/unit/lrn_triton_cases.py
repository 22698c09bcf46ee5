"""Run by test_lrn_triton.py in a process of its own: Triton reads TRITON_INTERPRET when it is imported.

Prints one JSON object: for each case the errors of both passes against torch in float64, relative to the largest value.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from variants.modules import lrn_torch, lrn_triton

# maps, window, groups, beta, k, shape of a map
CASES: dict[str, tuple[int, int, int, float, float, tuple[int, ...]]] = {
    "paper": (12, 5, 1, 0.75, 2.0, (5, 7)),
    "two columns": (12, 5, 2, 0.75, 2.0, (5, 7)),
    "odd number of maps": (7, 5, 1, 0.75, 2.0, (3, 5)),
    "three columns of odd width": (9, 3, 3, 0.75, 1.0, (3, 5)),
    "window wider than a column": (6, 9, 2, 0.75, 1.0, (3, 5)),
    "one map": (1, 5, 1, 0.75, 2.0, (3, 5)),
    "another power": (12, 5, 2, 0.6, 1.5, (3, 5)),
    "more maps than a tile": (70, 5, 1, 0.75, 2.0, (2, 3)),
    "more pixels than a tile": (3, 5, 1, 0.75, 2.0, (17, 11)),
    "units of a dense layer": (12, 5, 1, 0.75, 2.0, ()),
    "k of 0": (6, 5, 2, 0.75, 0.0, (3, 5)),
}
IN_BFLOAT16 = ["two columns", "odd number of maps", "another power"]
SCALE = 1e-3
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def errors(case: str, layout: str, dtype: torch.dtype) -> tuple[float, float]:
    """The largest errors of (output, gradient), as fractions of the largest value."""
    maps, size, groups, beta, k, sides = CASES[case]
    generator = torch.Generator().manual_seed(1)
    x = (torch.randn(3, maps, *sides, generator=generator) * 30).to(dtype)
    grad = torch.randn(3, maps, *sides, generator=generator).to(dtype)
    if sides:
        x = x.contiguous(memory_format=LAYOUTS[layout])
    assert lrn_triton.usable(x, size, groups)
    made = (
        lrn_triton.forward(x, size, groups, SCALE, beta, k),
        lrn_triton.backward(x, grad, size, groups, SCALE, beta, k),
    )
    assert all(each.dtype == dtype and each.stride() == x.stride() for each in made)
    exact, exact_grad = x.double(), grad.double()
    window = lrn_torch.across_maps(exact, size, groups)
    wanted = (
        lrn_torch.forward(exact, window, SCALE, beta, k),
        lrn_torch.backward(exact, exact_grad, window, SCALE, beta, k),
    )
    first, second = (_error(*pair) for pair in zip(made, wanted, strict=True))
    return first, second


def _error(made: Tensor, wanted: Tensor) -> float:
    return float((made.double() - wanted).abs().max() / wanted.abs().max())


if __name__ == "__main__":
    found = {
        f"{case}, {layout}, {str(dtype).removeprefix('torch.')}": errors(case, layout, dtype)
        for dtype, cases in ((torch.float32, list(CASES)), (torch.bfloat16, IN_BFLOAT16))
        for case in cases
        for layout in LAYOUTS
    }
    print(json.dumps(found))
