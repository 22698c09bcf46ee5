"""The statistics keep what they promise on simulated data: intervals cover, verdicts err as rarely as stated.

Tolerances: a rate p over R simulated studies has standard error sqrt(p (1 - p) / R); every bound is 4 of them away.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.report.stats import (
    Interval,
    dunnett,
    finite_test_set,
    over_images,
    over_seeds,
    paired_by_seed,
    seeds_to_confirm,
    seeds_to_detect,
)


def test_one_seed_has_a_mean_and_no_interval():
    alone = over_seeds([0.33])
    assert (alone.mean, alone.n, alone.sd, alone.interval, alone.half_width) == (
        0.33,
        1,
        None,
        None,
        None,
    )


def test_the_interval_of_three_seeds_is_the_textbooks():
    made = over_seeds([0.32, 0.33, 0.34])
    assert made.interval is not None
    # t(0.975, 2) = 4.302653
    assert made.half_width == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_over_seeds_covers_the_truth_19_times_in_20(n: int):
    draws = np.random.default_rng(n).normal(0.3, 0.01, size=(2000, n))
    covered = np.mean(
        [e.low <= 0.3 <= e.high for row in draws if (e := over_seeds(list(row)).interval)]
    )
    assert covered == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 2000) ** 0.5)


def test_pairing_cancels_what_a_seed_gives_to_both_and_uses_shared_seeds_only():
    ours, versus = {0: 0.40, 1: 0.50, 2: 0.60, 9: 0.0}, {0: 0.39, 1: 0.48, 2: 0.59, 8: 1.0}
    paired = paired_by_seed(ours, versus)
    assert paired is not None
    assert paired.n == 3
    assert paired.mean == pytest.approx(0.04 / 3)
    assert paired.half_width is not None
    assert paired.half_width < 0.02  # unpaired spread of 0.1 would give 0.25
    assert paired_by_seed({0: 0.1}, {1: 0.1}) is None


def test_for_one_seed_the_interval_over_images_decides_as_mcnemar_does():
    """Asymptotic against exact: they may part only where the exact p is within 0.03 of 0.05."""
    rng = np.random.default_rng(5)
    for shift in np.linspace(0, 0.06, 25):
        base = rng.random(2000) < 0.7
        ours = np.where(rng.random(2000) < 0.1 + shift, False, base | (rng.random(2000) < 0.1))
        worse, better = int((~ours & base).sum()), int((ours & ~base).sum())
        exact = scipy_stats.binomtest(worse, worse + better).pvalue
        decided = over_images([ours], [base]).excludes_zero
        assert decided == (exact < 0.05) or abs(exact - 0.05) < 0.03


def test_the_interval_over_images_covers_although_seeds_share_their_hard_images():
    """Three seeds on the same images: taking 3 x 500 answers as independent would cover far less often."""
    rng, covered, studies = np.random.default_rng(1), 0, 1000
    for _ in range(studies):
        hardness = rng.beta(0.5, 1.0, size=500)
        easier = hardness * 0.9
        ours = [rng.random(500) < easier for _ in range(3)]
        base = [rng.random(500) < hardness for _ in range(3)]
        truth = 0.1 * (0.5 / 1.5)  # mean of hardness times 0.1
        found = over_images(ours, base)
        covered += found.low <= truth <= found.high
    assert covered / studies == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / studies) ** 0.5)


def test_the_finite_test_set_interval_is_wilsons():
    found = finite_test_set(0.0, 100)
    assert found.low == 0.0
    assert found.high == pytest.approx(1.959964**2 / (100 + 1.959964**2), rel=1e-6)


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_the_seeds_asked_for_detect_the_effect_in_80_percent_of_studies_and_one_less_does_not(
    effect: float,
):
    n = seeds_to_detect(1.0, effect)
    assert n is not None
    draws = np.random.default_rng(7).normal(effect, 1.0, size=(1500, n))
    power = np.mean([e.excludes_zero for row in draws if (e := over_seeds(list(row)).interval)])
    assert power > 0.8 - 4 * (0.16 / 1500) ** 0.5
    fewer = scipy_stats.nct.sf(scipy_stats.t.ppf(0.975, n - 2), n - 2, effect * (n - 1) ** 0.5)
    assert fewer < 0.8


def test_the_seeds_asked_for_confine_the_interval_in_80_percent_of_studies():
    n = seeds_to_confirm(1.0, 0.8)
    assert n is not None
    draws = np.random.default_rng(8).normal(0.0, 1.0, size=(1500, n))
    power = np.mean([e.within(-0.8, 0.8) for row in draws if (e := over_seeds(list(row)).interval)])
    assert power == pytest.approx(0.8, abs=4 * (0.16 / 1500) ** 0.5)


def test_a_hopeless_effect_asks_for_no_number_and_an_obvious_one_for_two_seeds():
    assert seeds_to_detect(9.0, 0.01) is None
    assert seeds_to_detect(1.0, 0.0) is None
    assert seeds_to_detect(0.001, 5.0) == 2


def test_an_interval_that_touches_zero_does_not_exclude_it():
    assert not Interval(low=0.0, high=1.0).excludes_zero
    assert Interval(low=-2.0, high=-1.0).excludes_zero
    assert Interval(low=2.0, high=3.0).outside(0.0, 1.0)
    assert not Interval(low=0.5, high=3.0).outside(0.0, 1.0)


def test_dunnett_shares_one_spread_and_counts_the_comparisons() -> None:
    """p is larger than that of a t test with the same pooled spread; the call draws no free numbers."""
    control, near, far = [0.230, 0.234, 0.240], [0.240, 0.245, 0.238], [0.250, 0.260, 0.259]
    p_near, p_far = dunnett([near, far], control)
    spread = np.sqrt(np.mean([np.var(values, ddof=1) for values in (near, far, control)]))
    t = (np.mean(far) - np.mean(control)) / (spread * np.sqrt(2 / 3))
    assert 2 * scipy_stats.t.sf(t, df=6) < p_far < 0.05 < p_near
    assert [p_near, p_far] == dunnett([near, far], control)
    assert dunnett([[0.2, 0.2]], [0.3, 0.3]) == [1.0]  # no spread to judge by
