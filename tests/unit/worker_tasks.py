"""What the worker processes of test_workers.py do; cheap to import, for spawn."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import DeviceLost, RunFailed
from harness.events import Event, TrainingDone

Listen = Callable[[Event], None]
EVENT = TrainingDone(steps=1, images=1, elapsed_s=0.0, wait_s=0.0)


def tell_twice(task: object, listen: Listen) -> None:
    listen(EVENT)
    listen(EVENT)


def by_word(task: str, listen: Listen) -> None:
    """fail, bug, die, stop, or nothing."""
    if task == "fail":
        raise RunFailed("the loss is nan at step 3")
    if task == "bug":
        raise ValueError("no such thing")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "stop":
        raise KeyboardInterrupt


def until_stopped(task: Path, listen: Listen) -> None:
    """Leaves a file named after its process when interrupted, as a run seals its record."""
    try:
        listen(EVENT)
        time.sleep(30)
    except KeyboardInterrupt:
        (task / f"sealed-{os.getpid()}").touch()
        raise


def with_a_late_death(task: Path, listen: Listen) -> None:
    """The first task's process dies between two tasks."""
    if not (task / "died").exists():
        (task / "died").touch()
        pid = os.getpid()
        if os.fork() == 0:
            time.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
            os._exit(0)


def device_as_error(task: str, listen: Listen) -> None:
    """Reports the device that this worker sees; "die" ends the process, whose successor must see the same one."""
    by_word(task, listen)
    time.sleep(0.3)  # so that the other worker has a turn
    raise RunFailed(os.environ["CUDA_VISIBLE_DEVICES"])


def on_a_lost_gpu(task: str, listen: Listen) -> None:
    """GPU-a fails every task, or those named "fail"; it hangs at the end of its process, as a lost GPU may."""
    if os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a" and task in ("any", "fail"):
        threading.Thread(target=time.sleep, args=(60,)).start()
        raise DeviceLost("cuda (GPU-a) failed: unspecified launch failure")
    time.sleep(0.4)
