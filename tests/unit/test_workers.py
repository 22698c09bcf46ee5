"""Runs side by side: in order, within what may start, and without orphans however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import worker_tasks

from harness.studies.workers import (
    DeviceGivenUp,
    Ended,
    Happened,
    News,
    Started,
    run_all,
    work_until_closed,
)

NONE = [{}]  # no variables


def ended(found: list[News]) -> dict[int, str | None]:
    return {news.task: news.error for news in found if isinstance(news, Ended)}


def test_one_worker_does_the_tasks_in_order_and_reports_every_event() -> None:
    found = list(run_all(["a", "b", "c"], worker_tasks.tell_twice, NONE * 1))
    assert found == [
        news
        for task in range(3)
        for news in (
            Started(task), Happened(task, worker_tasks.EVENT), Happened(task, worker_tasks.EVENT), Ended(task, None),
        )
    ]  # fmt: skip


def test_tasks_start_in_order_however_many_workers() -> None:
    found = list(run_all("abcde", worker_tasks.tell_twice, NONE * 3))
    assert [news.task for news in found if isinstance(news, Started)] == [0, 1, 2, 3, 4]
    assert ended(found) == dict.fromkeys(range(5))


def test_a_task_that_may_not_start_is_skipped_after_one_question() -> None:
    asked: list[int] = []

    def may_start(task: int) -> bool:
        asked.append(task)
        return task != 1

    found = list(run_all("abc", worker_tasks.tell_twice, NONE * 1, may_start))
    assert list(ended(found)) == [0, 2]
    assert asked == [0, 1, 2]


def test_nothing_to_do_is_done_at_once() -> None:
    assert list(run_all([], worker_tasks.tell_twice, NONE * 2)) == []
    assert list(run_all("ab", worker_tasks.tell_twice, NONE * 2, lambda task: False)) == []


def test_a_task_that_fails_takes_no_other_with_it() -> None:
    found = ended(list(run_all(["ok", "fail", "bug", "ok"], worker_tasks.by_word, NONE * 1)))
    assert found == {0: None, 1: "the loss is nan at step 3", 2: "ValueError: no such thing", 3: None}


@pytest.mark.parametrize(("word", "code"), [("die", -9), ("stop", 0)])
def test_a_worker_that_ends_costs_one_task_and_another_takes_over(word: str, code: int) -> None:
    found = ended(list(run_all([word, "ok", word, "ok"], worker_tasks.by_word, NONE * 1)))
    assert [found[1], found[3]] == [None, None]
    assert found[0] == found[2] == f"its process ended with code {code} (out of memory, or killed)"


def test_a_worker_that_dies_between_two_tasks_costs_one_at_most(tmp_path: Path) -> None:
    found = ended(list(run_all([tmp_path] * 3, worker_tasks.with_a_late_death, NONE * 1)))
    assert sorted(found) == [0, 1, 2]
    assert sum(error is not None for error in found.values()) <= 1


def test_closing_the_iterator_interrupts_the_workers_and_waits_for_them(tmp_path: Path) -> None:
    with closing(run_all([tmp_path] * 3, worker_tasks.until_stopped, NONE * 2)) as found:
        while len([news for news in (next(found), next(found)) if isinstance(news, Happened)]) < 1:
            pass
    assert multiprocessing.active_children() == []
    assert list(tmp_path.glob("sealed-*"))


def test_an_exception_in_the_consumer_interrupts_the_workers_at_once(tmp_path: Path) -> None:
    try:
        for news in run_all([tmp_path], worker_tasks.until_stopped, NONE * 1):
            assert isinstance(news, Started)
    except AssertionError:
        assert multiprocessing.active_children() == []
        assert len(list(tmp_path.glob("sealed-*"))) == 1


def none_left(group: int) -> bool:
    """Whether all of a process group end within moments (multiprocessing's tracker outlives its parent by one)."""
    until = time.monotonic() + 5
    while living := [process for process in psutil.process_iter() if lives_in(group, process)]:
        if time.monotonic() > until:
            print(living)
            return False
        time.sleep(0.1)
    return True


def lives_in(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def test_sigint_passes_a_worker_by_even_while_it_starts() -> None:
    found = run_all("ab", worker_tasks.tell_twice, NONE * 1)
    assert next(found) == Started(0)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    assert ended(list(found)) == {0: None, 1: None}


CTRL_C = """
import sys
from pathlib import Path
import worker_tasks
from harness.studies.workers import DeviceGivenUp, run_all
if __name__ == "__main__":
    for news in run_all([Path(sys.argv[1])] * 2, worker_tasks.until_stopped, [{}] * 2):
        print(type(news).__name__, flush=True)
"""


@pytest.mark.parametrize("moment", ["Started", "Happened"])
def test_a_terminals_ctrl_c_is_the_parents_alone_even_while_workers_start(
    tmp_path: Path, moment: str
) -> None:
    """A terminal sends SIGINT to the whole foreground group. A worker must neither print nor die of it."""
    script = tmp_path / "script.py"
    script.write_text(CTRL_C)
    path = os.pathsep.join([str(Path(worker_tasks.__file__).parent), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() != f"{moment}\n":
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert said.count("Traceback") == 1  # the script's own: nothing there catches it
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert none_left(process.pid)


def test_a_sigterm_that_comes_before_the_first_task_ends_a_worker_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The handler stands within the `try`: a signal at once after it is installed is caught like any other."""
    real, left = signal.signal, [signal.SIGTERM]

    def at_once(number: int, handler: object) -> object:
        before = real(number, handler)  # type: ignore[arg-type]
        if left:
            signal.raise_signal(left.pop())
        return before

    ours, theirs = multiprocessing.Pipe()
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("harness.studies.workers.signal.signal", at_once)
    try:
        work_until_closed(theirs, worker_tasks.tell_twice)
        # a second one must not raise while Python shuts down
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        real(signal.SIGTERM, before)
        ours.close()


def test_each_worker_has_its_own_variables_and_this_process_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    two = [{"CUDA_VISIBLE_DEVICES": name} for name in ("GPU-a", "GPU-b")]
    found = list(run_all(["die", "ok", "ok", "ok"], worker_tasks.device_as_error, two))
    seen = [news.error for news in found if isinstance(news, Ended)]
    assert len(seen) == 4
    assert {error for error in seen if error and "its process ended" not in error} == {"GPU-a", "GPU-b"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    monkeypatch.setattr("harness.studies.workers.ENDS_IN_S", 0.2)
    return [{"CUDA_VISIBLE_DEVICES": name} for name in ("GPU-a", "GPU-b")]


def test_a_lost_gpu_fails_two_tasks_and_the_others_are_done_elsewhere(
    two_gpus: list[dict[str, str]],
) -> None:
    found = list(run_all(["any"] * 6, worker_tasks.on_a_lost_gpu, two_gpus))
    failed = [news for news in found if isinstance(news, Ended) and news.error is not None]
    assert [news.error for news in failed] == ["cuda (GPU-a) failed: unspecified launch failure"] * 2
    assert all(news.device_lost for news in failed)
    assert len(ended(found)) == 6
    assert [news for news in found if isinstance(news, DeviceGivenUp)] == [DeviceGivenUp(two_gpus[0])]
    assert multiprocessing.active_children() == []


def test_a_gpu_that_works_again_in_a_new_process_is_used_on(two_gpus: list[dict[str, str]]) -> None:
    tasks = ["fail", "ok", "fail", "ok"]
    found = list(run_all(tasks, worker_tasks.on_a_lost_gpu, two_gpus[:1]))
    assert [error is None for _, error in sorted(ended(found).items())] == [False, True, False, True]
    assert not [news for news in found if isinstance(news, DeviceGivenUp)]


def test_without_a_device_left_the_other_tasks_are_not_tried(two_gpus: list[dict[str, str]]) -> None:
    found = list(run_all(["any"] * 5, worker_tasks.on_a_lost_gpu, two_gpus[:1]))
    assert sorted(ended(found)) == [0, 1]
    assert isinstance(found[-1], DeviceGivenUp)
