"""Statistics for few seeds: means, intervals, paired differences, and the sample size that a claim
needs.

Two sources of variance are separated. Intervals over seeds: would other seeds give the same result on
these images? Intervals over images: would other images give the same result for these networks? All
intervals are two-sided at 95 %.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from variants.values import value

CONFIDENCE = 0.95
POWER = 0.8
BOOTSTRAPS = 10_000
MOST_SEEDS = 10_000  # larger numbers are shown as "more than 10,000"


@value
class Interval:
    """A closed interval, in the unit of its quantity."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def within(self, low: float, high: float) -> bool:
        return low <= self.low and self.high <= high

    def outside(self, low: float, high: float) -> bool:
        return self.high < low or high < self.low


@value
class Estimate:
    """A mean over `n` seeds. `sd` and `interval` are None for n = 1."""

    mean: float
    n: int
    sd: float | None
    interval: Interval | None

    @property
    def half_width(self) -> float | None:
        return None if self.interval is None else (self.interval.high - self.interval.low) / 2


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean and Student's t interval of at least one value; values of different seeds are assumed
    independent.
    """
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Estimate(mean=mean, n=1, sd=None, interval=None)
    sd = float(np.std(values, ddof=1))
    half = _t_quantile(n) * sd / sqrt(n)
    return Estimate(mean=mean, n=n, sd=sd, interval=Interval(low=mean - half, high=mean + half))


def single_run_half_width(sd: float, n: int, runs: int) -> float:
    """Half of the 95 % interval of a value from `runs` single runs: 1 for an error, 2 for a difference.

    sd: of one run, in the unit of the value, estimated from `n` >= 2 runs; hence Student's t with n - 1
    degrees of freedom.
    """
    return _t_quantile(n) * sd * sqrt(runs)


def paired_by_seed(ours: Mapping[int, float], versus: Mapping[int, float]) -> Estimate | None:
    """ours - versus over common seeds, so that effects of a seed on both (order, crops) cancel.

    None without any.
    """
    shared = sorted(ours.keys() & versus.keys())
    return over_seeds([ours[seed] - versus[seed] for seed in shared]) if shared else None


def ratio_of_means(above: Sequence[float], below: Sequence[float]) -> tuple[float, Interval | None]:
    """mean(above) / mean(below) and its 95 % percentile bootstrap interval over seeds of both sides;
    None for n = 1.

    All values are positive. The random numbers have a fixed seed, so that the same records give the
    same report.
    """
    ratio = float(np.mean(above) / np.mean(below))
    if min(len(above), len(below)) < 2:
        return ratio, None
    rng = np.random.default_rng(2012)
    means = [rng.choice(np.asarray(side), (BOOTSTRAPS, len(side))).mean(1) for side in (above, below)]
    low, high = np.quantile(means[0] / means[1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return ratio, Interval(low=float(low), high=float(high))


def ratio_of_means_by_t(above: Sequence[float], below: Sequence[float]) -> Interval | None:
    """The 95 % interval of the ratio of geometric means by Welch's t test of the logarithms; None for n
    = 1.

    The bootstrap's interval is too narrow with few seeds; this one is not, if the logarithms are about
    normal.
    """
    sides = [np.log(np.asarray(side)) for side in (above, below)]
    if min(len(side) for side in sides) < 2:
        return None
    if all(np.ptp(side) == 0 for side in sides):
        middle = float(np.exp(sides[0][0] - sides[1][0]))
        return Interval(low=middle, high=middle)
    found = scipy_stats.ttest_ind(*sides, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(low=float(np.exp(found.low)), high=float(np.exp(found.high)))


def over_images(ours: Sequence[NDArray[np.bool_]], versus: Sequence[NDArray[np.bool_]]) -> Interval:
    """Interval over images of the error difference ours - versus. Arrays: one per seed, (images,), True
    if right.

    Each image counts once, with the mean of its differences over seeds, since these are correlated. For
    one seed this is the interval of McNemar's test, which uses only images that exactly one net gets
    right.
    """
    each = (np.mean(versus, axis=0) - np.mean(ours, axis=0)).astype(np.float64)
    half = float(scipy_stats.norm.ppf((1 + CONFIDENCE) / 2) * np.std(each, ddof=1) / sqrt(len(each)))
    mean = float(np.mean(each))
    return Interval(low=mean - half, high=mean + half)


def finite_test_set(error: float, images: int) -> Interval:
    """Wilson's interval of one network's error, for other samples of `images` images from the same
    source.
    """
    count, z = round(error * images), float(scipy_stats.norm.ppf((1 + CONFIDENCE) / 2))
    wrong, scale = count / images, 1 + z**2 / images
    middle = (wrong + z**2 / (2 * images)) / scale
    half = z * sqrt(wrong * (1 - wrong) / images + z**2 / (4 * images**2)) / scale
    return Interval(low=middle - half if count else 0.0, high=middle + half if count < images else 1.0)


def no_better_than_guessing(error: float, images: int, classes: int) -> bool:
    """Whether the interval over images of a network's top-1 error includes that of guessing, 1 - 1 /
    classes.
    """
    return finite_test_set(error, images).high >= 1 - 1 / classes


def dunnett(arms: Sequence[Sequence[float]], control: Sequence[float]) -> list[float]:
    """Dunnett's p values: each arm's mean against the control's, with pooled variance, corrected for
    the number of arms.

    Each arm needs at least two seeds. The result is 1.0 if no arm has any variance. scipy uses random
    numbers for the integration; their seed is fixed, so that the same records give the same report.
    """
    if all(np.ptp(values) == 0 for values in (*arms, control)):
        return [1.0] * len(arms)
    rng = np.random.default_rng(2012)
    # scipy warns if the values of one arm are equal; the pooled variance is still right
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = scipy_stats.dunnett(*arms, control=control, random_state=rng)
    return [float(p) for p in found.pvalue]


def seeds_to_detect(sd: float, effect: float) -> int | None:
    """Seeds per side so that a true paired difference of `effect` is significant in 80 % of studies
    (noncentral t).

    sd: of the paired differences, in the unit of effect. None above MOST_SEEDS.
    """
    return _fewest(sd, effect, POWER)


def seeds_to_confirm(sd: float, margin: float) -> int | None:
    """Seeds per side so that the whole interval lies within +-margin of the true difference in 80 % of
    studies.

    The interval can exceed either bound, so each gets half of the 20 % (Schuirmann's two one-sided
    tests).
    """
    return _fewest(sd, margin, 1 - (1 - POWER) / 2)


@lru_cache(maxsize=4096)
def _fewest(sd: float, effect: float, power: float) -> int | None:
    if effect == 0:
        return None

    def enough(n: int) -> bool:
        # At 30 standard errors the power is above 0.8 for any n; scipy's series is accurate only below
        # about 37.
        shift = min(sqrt(n) * abs(effect) / max(sd, 1e-12), 30.0)
        return bool(scipy_stats.nct.sf(_t_quantile(n), n - 1, shift) >= power)

    n = bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=enough)  # power grows with n
    return n if n <= MOST_SEEDS else None


@lru_cache(maxsize=4096)
def _t_quantile(n: int) -> float:
    return float(scipy_stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
