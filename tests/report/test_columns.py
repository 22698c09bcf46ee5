"""The colour of conv1's columns: the index, and the test that tells two columns from two halves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.report.columns import colour_gap, colour_index, colour_of_columns
from variants.catalog import CATALOG

Kernels = NDArray[np.floating[Any]]


def random_kernels(seed: int, kernels: int = 24) -> Kernels:
    return np.random.default_rng(seed).normal(size=(kernels, 3, 5, 5))


def one_column_grey(seed: int) -> Kernels:
    """The first half sees only brightness, the second only colour."""
    kernels = random_kernels(seed)
    mean = kernels.mean(axis=1, keepdims=True)
    kernels[:12] = np.broadcast_to(mean[:12], kernels[:12].shape)
    kernels[12:] -= mean[12:]
    return kernels


def record(kernels: Kernels, variant: str = "grouped_2gpu") -> Any:
    spec = SimpleNamespace(net=CATALOG[variant].spec)
    return SimpleNamespace(spec=spec, array=lambda name: kernels.astype(np.float16))


def test_the_index_is_0_for_grey_1_for_colour_and_two_thirds_for_random_weights():
    assert colour_index(one_column_grey(0)) == pytest.approx([0.0] * 12 + [1.0] * 12)
    # mean of 4,800 indices, each with a standard deviation of about 0.06
    assert colour_index(random_kernels(1, 4800)).mean() == pytest.approx(2 / 3, abs=0.004)
    assert colour_index(np.zeros((2, 3, 5, 5))) == pytest.approx([0.0, 0.0])


def test_two_columns_that_differ_in_colour_are_found_in_every_seed_whatever_their_order():
    swapped = np.roll(one_column_grey(1), 12, axis=0)
    found = colour_of_columns("grouped_2gpu", [record(one_column_grey(0)), record(swapped)])
    assert found is not None
    assert (found.low.mean, found.high.mean) == pytest.approx((0.0, 1.0), abs=1e-3)
    assert (found.significant_seeds, found.columns, found.p) == (2, True, 1 / 10_000)


def test_halves_of_random_kernels_are_rarely_found():
    """Of 40 networks about 2 have p < 0.05 by chance; more than 6 would happen in 1 % of cases."""
    records = [record(random_kernels(seed), "ungrouped") for seed in range(40)]
    found = colour_of_columns("ungrouped", records)
    assert found is not None
    assert not found.columns
    assert found.significant_seeds <= 6
    assert found.p > 0.05


def test_a_net_whose_kernels_have_no_three_colours_has_no_gap():
    assert colour_gap(record(np.zeros((24, 1, 5, 5)))) is None
    assert colour_of_columns("x", [record(np.zeros((24, 1, 5, 5)))]) is None
    assert colour_gap(record(one_column_grey(0))) == pytest.approx(1.0, abs=1e-3)
