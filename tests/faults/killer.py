"""A program that forks runs and kills them: torch is imported once, so a run starts within milliseconds.

It reads lines of JSON, [results folder, seconds until SIGKILL or null], and answers each with [exit status, seconds].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from soak_runs import Task, work

import harness.run  # noqa: F401  # before the fork

EPOCHS = 30.0


def run(results: Path) -> None:
    try:
        work(
            Task(results, seed=0, epochs=EPOCHS, weights=results.parent / "net.safetensors"),
            lambda event: None,
        )
    except BaseException as error:  # the fork must not go on as a second killer
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        results, kill_after_s = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            run(Path(results))
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)  # it is not waited for yet, so the id is still its own
        _, status = os.waitpid(child, 0)
        print(json.dumps([status, time.monotonic() - began]), flush=True)


if __name__ == "__main__":
    main()
