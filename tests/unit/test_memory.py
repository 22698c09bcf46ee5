"""The estimate of a run's memory against measured peaks, and how it follows the description."""

from __future__ import annotations

import pytest

from harness.devices import study_placement
from harness.memory import largest_run_mib, run_mib
from harness.resolve import RunRequest, study_requests
from variants.catalog import CATALOG
from variants.geometry import spec_for
from variants.recipes.recipe import Geometry


@pytest.mark.parametrize(
    ("geometry", "batch_size", "measured_mib"), [("mini", 64, 1650), ("full", 128, 2455)]
)
def test_the_estimate_covers_the_measured_peak_and_is_at_most_1_6_times_as_large(
    geometry: Geometry, batch_size: int, measured_mib: int
) -> None:
    estimate = run_mib(spec_for(CATALOG["grouped_2gpu"], geometry, 10), batch_size)
    assert measured_mib <= estimate <= 1.6 * measured_mib


def test_it_grows_with_the_batch_and_with_the_net() -> None:
    full, mini = (spec_for(CATALOG["grouped_2gpu"], geometry, 10) for geometry in ("full", "mini"))
    assert run_mib(full, 256) > run_mib(full, 128) > run_mib(mini, 128)


def test_of_several_runs_the_largest_counts() -> None:
    requests = study_requests(
        RunRequest("grouped_2gpu", "paper", "synthetic", 0), ("grouped_2gpu", "ungrouped"), [0]
    )
    assert largest_run_mib(requests) == max(largest_run_mib([request]) for request in requests)


def test_fewer_runs_go_on_at_a_time_where_each_needs_more_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.devices.usable_cores", lambda: 8)
    monkeypatch.setattr("harness.devices.memory_limit_mib", lambda: 12000)
    concurrent = [
        study_placement("cpu", None, "auto", [], run_mib=mib)[0].concurrent
        for mib in (1500, 4000, 13000)
    ]
    assert concurrent == [8, 3, 1]
