"""Runs of the benchmark suite: what counts as slower, and how often chance is taken for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.bench.regressions import (
    LEAST_FLOOR,
    SuiteRun,
    changes,
    noise_floor,
    runs_missing,
    suite_runs,
)
from harness.errors import RecordError


def run(number: int, seconds: float, source: str | None = "a", key: str = "here") -> SuiteRun:
    return SuiteRun(f"{number:04}.json", key, source, {"lrn": seconds})


def test_a_change_beyond_the_noise_of_equal_sources_is_a_regression() -> None:
    before = [run(1, 1.00), run(2, 1.01), run(3, 0.99)]
    floor = noise_floor(before, "lrn")
    # sd 0.01 of 3 runs, twice in a difference, times t(0.99, 2) = 6.965
    assert floor == pytest.approx(np.expm1(6.965 * 2**0.5 * 0.01), rel=0.01)
    (slower,) = changes([*before, run(4, 1.15, "b")])
    (alike,) = changes([*before, run(4, 1.05, "b")])
    (faster,) = changes([*before, run(4, 0.5, "b")])
    assert [each.is_regression for each in (slower, alike, faster)] == [True, False, False]
    assert slower.slower == pytest.approx(1.15 / 0.99 - 1)


def test_differences_between_sources_are_no_noise() -> None:
    runs = [run(1, 1.0), run(2, 1.0), run(3, 1.0), run(4, 2.0, "b"), run(5, 2.0, "b")]
    assert noise_floor(runs, "lrn") == LEAST_FLOOR


def test_other_keys_unknown_sources_and_single_runs_say_nothing_of_the_noise() -> None:
    assert noise_floor([run(1, 1.0), run(2, 3.0)], "lrn") is None
    assert noise_floor([run(n, float(n), None) for n in range(1, 9)], "lrn") is None
    there = [run(n, 1.0, key="there") for n in range(1, 5)]
    assert changes([*there, run(9, 5.0)]) == []
    (change,) = changes([run(1, 1.0), *there, run(9, 5.0)])
    assert (change.before_s, change.floor, change.is_regression) == (1.0, None, False)


def test_the_last_run_does_not_widen_its_own_floor() -> None:
    (change,) = changes([run(1, 1.0), run(2, 1.0), run(3, 1.0), run(4, 9.0)])
    assert change.is_regression


@pytest.mark.parametrize(
    ("sources", "missing"), [("", 3), ("a", 2), ("aa", 1), ("aaa", 0), ("aaab", 0), ("ab", 2)]
)
def test_three_runs_of_one_source_are_asked_for_at_first(sources: str, missing: int) -> None:
    assert runs_missing([run(n, 1.0, each) for n, each in enumerate(sources)]) == missing


def test_chance_is_called_a_regression_in_one_percent_of_cases() -> None:
    """4,000 series of log-normal noise: 40 alarms expected, the bounds are at 4 standard deviations."""
    draw, alarms = np.random.default_rng(0), 0
    for _ in range(4000):
        times = np.exp(0.03 * draw.standard_normal(5))
        runs = [run(n, float(seconds)) for n, seconds in enumerate(times)]
        alarms += changes([*runs[:4], replace(runs[4], source="b")])[0].is_regression
    assert 15 < alarms < 66


def test_stored_runs_are_read_as_pytest_benchmark_writes_them(tmp_path: Path, call: Any) -> None:
    folder = tmp_path / ".benchmarks" / "Linux-CPython-3.11-64bit"
    folder.mkdir(parents=True)
    for number, seconds in enumerate((1.0, 1.01, 1.0, 2.0), 1):
        stored = {
            "machine_info": {"bench_key": {"cpu": "x"}, "source": "ab"},
            "benchmarks": [{"fullname": "tests/bench/test_a.py::test_b", "stats": {"median": seconds}}],
        }
        (folder / f"{number:04}_ab.json").write_text(json.dumps(stored))
    assert [list(found.medians.values()) for found in suite_runs(tmp_path / ".benchmarks")] == [
        [1.0], [1.01], [1.0], [2.0],
    ]  # fmt: skip
    said = call("bench", "regressions")
    assert (said.code, "test_a.py::test_b" in said.err) == (1, True)
    assert "yes" in said.out
    assert call("bench", "regressions", "--runs-missing").out == "0\n"
    (folder / "0004_ab.json").unlink()
    assert call("bench", "regressions").code == 0
    (folder / "0005_ab.json").write_text("{}")
    with pytest.raises(RecordError, match=r"0005_ab.json is no run .* remove it"):
        suite_runs(tmp_path / ".benchmarks")


def test_without_runs_there_is_nothing_to_compare(call: Any) -> None:
    said = call("bench", "regressions")
    assert (said.code, said.out) == (
        0,
        "no two runs with one bench key under .benchmarks yet; run: nox -s bench\n",
    )
