"""A run killed at each of its file-system calls, and the run that sweeps it killed, too: nothing is lost.

Each process is a fork that counts its audited calls (open, rename, mkdir, remove, chmod ...) and ends by SIGKILL at
one of them. Where the tests run as root, the forks become an ordinary user, whom read-only files stop.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import ENV, summary_of
from test_full_disk import FINAL, ONE, train

from harness.records.store import Store
from harness.records.verify import verify

NOBODY = 65534
AUDITED = ("open", "os.")
NEVER = 10**9


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the ordinary user may write to; pytest's own are closed to others."""
    made = Path(
        tempfile.mkdtemp(prefix="harness-kills-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    )
    if os.geteuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


def run(root: Path, seed: int = 0) -> None:
    ticks = itertools.count()  # a second a call: every event is written at once
    with Store(root).open(replace(ONE, seed=seed), ENV, clock=lambda: float(next(ticks))) as writer:
        train(writer)
        writer.event(FINAL)
        writer.probes({"requested_hz": 1.0})
        writer.seal(summary_of(writer))


def killed_at(call: int, work: Callable[[], None]) -> bool:
    """Do `work` in a fork that is killed at its call number `call`; whether it lived so long."""
    child = os.fork()
    if child == 0:
        counted = itertools.count(1)

        def count(event: str, _: object) -> None:
            if event.startswith(AUDITED) and next(counted) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            sys.addaudithook(count)
            work()
        except BaseException as error:  # the fork must not go on as a second pytest
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def expected(root: Path) -> str | None:
    """How the first run must be sealed in the end, by what a kill left of it: ok, interrupted, or not at all."""
    folders = [path for path in (*root.glob(".open/2*"), *root.glob("2*")) if path.is_dir()]
    events = [folder / "events.jsonl" for folder in folders]
    written = "".join(path.read_text() for path in events if path.exists())
    if '"final":true' in written:
        return "ok"
    return "interrupted" if written else None


def nothing_is_lost(root: Path, wanted: str | None) -> None:
    """After a run of another seed that swept."""
    records = Store(root).verified()
    assert records.refused == ()
    assert [verify(record.path) for record in records.records if verify(record.path)] == []
    assert [record.summary.status for record in records.records if record.spec.seed == 0] == (
        [wanted] if wanted else []
    )
    assert [record.summary.status for record in records.records if record.spec.seed == 2] == ["ok"]
    assert [path for path in (root / ".open").iterdir() if path.is_dir()] == []


def test_a_run_killed_at_any_call_loses_nothing(home: Path) -> None:
    run(home / "warm")  # what is imported late is imported now
    run(home / "warm")
    for call in itertools.count(1):
        root = home / str(call)
        lived = not killed_at(call, lambda root=root: run(root))
        wanted = expected(root)
        killed_at(NEVER, lambda root=root: run(root, seed=2))
        nothing_is_lost(root, wanted)
        shutil.rmtree(root)
        if lived:
            break
    assert call > 50


def test_a_sweep_killed_at_any_call_loses_nothing_either(home: Path) -> None:
    """Every 13th call of the first run, and of the second one every 17th; each start is another, to spread them."""
    run(home / "warm")
    run(home / "warm")
    cases = 0
    for first in itertools.count(1, 13):
        lived = False
        for second in itertools.count(1 + first % 17, 17):
            root = home / f"{first}-{second}"
            lived = not killed_at(first, lambda root=root: run(root))
            wanted = expected(root)
            ended = not killed_at(second, lambda root=root: run(root, seed=1))
            killed_at(NEVER, lambda root=root: run(root, seed=2))
            nothing_is_lost(root, wanted)
            shutil.rmtree(root)
            cases += 1
            if ended:
                break
        if lived:
            break
    assert cases > 50
