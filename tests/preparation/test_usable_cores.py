"""How many threads and processes prepare a data set: what the container may use, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.data.base import Prepared
from harness.data.prepare import job, scan


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 cores, of which a container may use the time of three."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr("harness.limits.cpu_quota", lambda _: 3.0)


@pytest.mark.usefixtures("container")
@pytest.mark.parametrize(("asked", "workers"), [(None, 3), (5, 5)])
def test_images_are_checked_by_as_many_threads_as_the_container_has_cores(
    ready: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch, asked: int | None, workers: int
) -> None:
    pool, threads = scan.ThreadPoolExecutor, set[int]()
    monkeypatch.setattr(scan, "ThreadPoolExecutor", lambda number: (threads.add(number), pool(1))[1])
    ready(workers=asked)
    assert threads == {workers}


@pytest.mark.usefixtures("container")
@pytest.mark.parametrize(
    ("asked", "few", "processes"),
    [(None, 1, 3), (None, 1000, 1), (5, 1000, 5)],
    ids=["many", "few", "asked for"],
)
def test_images_are_written_by_as_many_processes_as_the_container_has_cores(
    ready: Callable[..., Prepared],
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    few: int,
    processes: int,
) -> None:
    pytest.importorskip("ffcv")
    from harness.data.ffcv.one_pass import OnePass

    real, found = OnePass.write, set[int]()

    def written(self: OnePass, workers: int, *more: Any) -> Any:
        found.add(workers)
        return real(self, 1, *more)

    monkeypatch.setattr(OnePass, "write", written)
    monkeypatch.setattr(job, "FEW", few)
    ready(workers=asked, loader="ffcv")
    assert found == {processes}
