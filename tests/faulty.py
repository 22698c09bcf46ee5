"""What several tests of faults need: refusals, a pickle that acts, a machine without a driver, processes to stop."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
# Threads that spin while they wait for each other take the cores from the other processes of a test.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
ENOUGH_S = 60.0


def refuse(number: int) -> Callable[..., Any]:
    """A stand-in for a call that the system refuses: errno.ENOSPC is a full disk. Root can't be refused otherwise."""

    def refused(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number), "somewhere")

    return refused


class NoDriver:
    """Stands for the module pynvml on a machine without a driver."""

    NVMLError = OSError

    def nvmlInit(self) -> None:
        raise OSError("no driver")


class Bomb:
    """Creates the file `target` when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below the folder, by its path in it."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def environment(cache: Path, **more: str) -> dict[str, str]:
    """For a process that has this tree's harness and a cache of its own."""
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(cache), **more}


def start(cache: Path, *words: str | Path, **options: Any) -> subprocess.Popen[str]:
    """`python -m harness` with these words; stdout and stderr are pipes. options: as for Popen."""
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": environment(cache),
        **options,
    }
    return subprocess.Popen([sys.executable, "-m", "harness", *map(str, words)], text=True, **options)


def spawned(pid: int) -> list[psutil.Process]:
    """The processes that multiprocessing started below this one, without its resource tracker, which ends last."""
    found = psutil.Process(pid).children(recursive=True)
    return [child for child in found if "spawn_main" in " ".join(child.cmdline())]


def wait_until(true: Callable[[], object]) -> None:
    """Fails after ENOUGH_S."""
    until = time.monotonic() + ENOUGH_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


# Commands that are killed many times are forks of a process that has loaded torch: a fork starts in 0.1 s, and
# `python -m harness run` in 5 s of a core's time.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["torch._dynamo", "harness.cli.app", "harness.cli.loading", "harness.run", "harness.report.stats"]
)


class Fork:
    """`python -m harness` with these words as a fork, with the methods of Popen that tests use."""

    def __init__(self, cache: Path, *words: str | Path) -> None:
        self._streams = tempfile.mkdtemp(prefix="harness-fork-")
        given = (self._streams, environment(cache), [str(word) for word in words])
        self._process = FORKS.Process(target=_command, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float = ENOUGH_S) -> tuple[str, str]:
        """Both streams, after the end."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it goes on"
        out, err = (Path(self._streams, name).read_text() for name in ("out", "err"))
        shutil.rmtree(self._streams)
        return out, err


def _command(streams: str, environ: dict[str, str], words: list[str]) -> None:
    os.environ.update(environ)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(streams, name), os.O_WRONLY | os.O_CREAT), number)
    from harness.cli.app import main

    main(words)
