"""Whether one column of conv1 learns colour and the other does not, as in the paper's figure 3
(section 6.1).

The colour index of a kernel is the fraction of its squared weights that is not common to red, green and
blue: 0 for a kernel that sees only brightness, 1 for one that sees only colour. Random weights have 2/3
on average. The gap of a network is the difference of the mean indices of its two columns, without sign,
since the columns have no order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.records.record import RunRecord
from harness.report.stats import Estimate, over_seeds
from variants.layers import Conv
from variants.spec import AlexNetSpec
from variants.values import value

PERMUTATIONS = 9_999
FROM_EPOCHS = 5.0  # before that, kernels are mostly the random numbers they began with


@value
class ColourOfColumns:
    """One variant over its seeds. columns: whether the net has two, or its kernels are only split in
    the middle.

    low, high: the mean index of the column with less and with more colour. p_values: by seed, of the
    permutation test that a kernel's column does not matter; p: of the same test for all seeds at once.
    """

    variant: str
    columns: bool
    low: Estimate
    high: Estimate
    gap: Estimate
    p_values: tuple[float, ...]
    p: float

    @property
    def significant_seeds(self) -> int:
        return sum(p < 0.05 for p in self.p_values)


def columns_of(net: AlexNetSpec) -> int:
    """2 for a net in two columns. conv1 reads the whole image, so the groups of later convolutions
    decide.
    """
    return 2 if any(isinstance(layer, Conv) and layer.groups == 2 for layer in net.layers) else 1


def has_colours(kernels: NDArray[np.floating]) -> bool:
    """(K, 3, k, k): a separable conv1 has no kernels that could be shown as colours."""
    return kernels.ndim == 4 and kernels.shape[1] == 3 and len(kernels) > 0


def colour_index(kernels: NDArray[np.floating]) -> NDArray[np.float64]:
    """(K, 3, k, k) -> (K,). A kernel of zeros has 0."""
    weights = kernels.astype(np.float64)
    colour = weights - weights.mean(axis=1, keepdims=True)
    total = np.square(weights).sum(axis=(1, 2, 3))
    index = np.zeros(len(weights))
    np.divide(np.square(colour).sum(axis=(1, 2, 3)), total, out=index, where=total > 0)
    return index


def column_means(index: NDArray[np.float64]) -> tuple[float, float]:
    """The mean index of either half of the kernels."""
    first, second = np.split(index, 2)
    return float(first.mean()), float(second.mean())


def colour_gap(record: RunRecord) -> float | None:
    """The gap of a run's conv1; None where its kernels have no colours or can't be halved."""
    kernels = record.array("conv1")
    if not has_colours(kernels) or len(kernels) % 2:
        return None
    first, second = column_means(colour_index(kernels))
    return abs(first - second)


def colour_of_columns(variant: str, records: Sequence[RunRecord]) -> ColourOfColumns | None:
    """The colour of both columns over at least one seed; None where the kernels have no colours."""
    kernels = [record.array("conv1") for record in records]
    if not all(has_colours(each) and len(each) % 2 == 0 for each in kernels):
        return None
    indices = np.stack([colour_index(each) for each in kernels])  # (seeds, K)
    means = [sorted(column_means(each)) for each in indices]
    gaps = [high - low for low, high in means]
    permuted = _permuted_gaps(indices)
    return ColourOfColumns(
        variant=variant,
        columns=columns_of(records[0].spec.net) == 2,
        low=over_seeds([low for low, _ in means]),
        high=over_seeds([high for _, high in means]),
        gap=over_seeds(gaps),
        p_values=tuple(_p(permuted[:, at], gap) for at, gap in enumerate(gaps)),
        p=_p(permuted.mean(axis=1), float(np.mean(gaps))),
    )


def _permuted_gaps(indices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(seeds, K) -> (PERMUTATIONS, seeds): gaps with kernels assigned to columns at random."""
    rng = np.random.default_rng(2012)  # fixed, so that the same records give the same report
    half = indices.shape[1] // 2
    gaps = np.empty((PERMUTATIONS, len(indices)))
    for i in range(PERMUTATIONS):
        mixed = rng.permuted(indices, axis=1)
        gaps[i] = np.abs(mixed[:, :half].mean(axis=1) - mixed[:, half:].mean(axis=1))
    return gaps


def _p(permuted: NDArray[np.float64], observed: float) -> float:
    """The fraction of permutations with at least this gap; the observed one counts as one of them."""
    return float((1 + np.count_nonzero(permuted >= observed - 1e-12)) / (1 + len(permuted)))
