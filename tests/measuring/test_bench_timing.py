"""Windows in turn: warm-up, interval of the median, ratios of pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from fake_time import Clock

from harness.bench.timing import Elsewhere, interleaved, median_interval


def taking(clock: Clock, seconds: float) -> int:
    clock.now += seconds
    return 10


def test_ways_take_turns_and_the_slower_one_is_slower(clock: Clock) -> None:
    log: list[str] = []

    def logged(name: str, seconds: float) -> int:
        log.append(name)
        return taking(clock, seconds)

    found = interleaved(
        {"fast": partial(logged, "fast", 0.002), "slow": partial(logged, "slow", 0.02)}, 5
    )
    assert log[-10:] == ["fast", "slow"] * 5
    fast, slow = found.timing("fast"), found.timing("slow")
    assert (fast.images_per_second, slow.images_per_second) == pytest.approx((5000, 500))
    assert slow.low <= slow.images_per_second <= slow.high
    assert slow.windows == 5
    ratio = found.ratio("fast", "slow")
    assert (ratio.low, ratio.per_second, ratio.high) == pytest.approx((10, 10, 10))


def test_ab_pairs_cancel_a_load_that_slows_both(clock: Clock) -> None:
    """The machine gets slower from window to window, but the ratio of neighbours stays what it is."""
    load = iter([1.0] * 12 + [1.0 + 0.2 * (n // 2) for n in range(18)])
    ways = {name: lambda s=s: taking(clock, s * next(load)) for name, s in {"a": 0.1, "b": 0.2}.items()}
    found = interleaved(ways, 9)
    spread = found.timing("a")
    assert spread.highest > 2 * spread.lowest
    ratio = found.ratio("a", "b")
    assert (ratio.low, ratio.high) == pytest.approx((2, 2))


def warming(clock: Clock, lengths: list[float]) -> Callable[[], int]:
    left = iter(lengths)
    return lambda: taking(clock, next(left))


def test_the_warm_up_ends_when_no_way_has_a_trend_and_no_slow_start_is_counted(clock: Clock) -> None:
    found = interleaved({"warming": warming(clock, [0.08, 0.04, 0.02, *[0.01] * 20])}, 5)
    assert found.timing("warming").lowest == pytest.approx(1000)
    # 3 windows to warm up, and 3 with that speed: the medians of 3 and 3 then differ by half
    assert (found.warm_ups, found.steady) == (8, True)


def test_a_speed_that_never_settles_is_said_to_be_unsteady(clock: Clock) -> None:
    found = interleaved({"slowing": warming(clock, [0.01 * 1.1**n for n in range(30)])}, 5)
    assert (found.warm_ups, found.steady) == (20, False)


def test_one_way_that_still_speeds_up_keeps_all_warming_up(clock: Clock) -> None:
    """Twice as fast beside 29 others: the mean of all moves by 2 % only."""
    ways = {f"steady {n}": partial(taking, clock, 0.01) for n in range(29)}
    found = interleaved({**ways, "compiling": warming(clock, [0.02] * 4 + [0.01] * 20)}, 5)
    assert (found.warm_ups, found.steady) == (9, True)


def test_noise_without_a_trend_is_steady(clock: Clock) -> None:
    noise = [0.010, 0.013, 0.009, 0.012, 0.011, 0.010] * 5
    assert interleaved({"noisy": warming(clock, noise)}, 5).steady


@pytest.mark.parametrize(("n", "left_out"), [(5, 0), (6, 0), (8, 0), (9, 1), (20, 5)])
def test_the_interval_of_the_median_is_the_narrowest_with_95_percent(n: int, left_out: int) -> None:
    """From tables of the sign test; 5 windows are too few for 95 %, which the coverage says."""
    low, high, coverage = median_interval([float(number) for number in range(n)])
    assert (low, high) == (left_out, n - 1 - left_out)
    assert (coverage >= 0.95) == (n > 5)


def test_work_elsewhere_adds_its_cpu_seconds(clock: Clock) -> None:
    def elsewhere() -> Elsewhere:
        clock.now += 1
        return Elsewhere(100, 1000.0)

    assert interleaved({"other": elsewhere}, 5).timing("other").images_per_cpu_second < 0.11
