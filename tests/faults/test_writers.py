"""Writer processes: they end with their parent, they never make it wait for ever, and they load no torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from faulty import ROOT, spawned, wait_until

SLOW = """
import sys, time
from harness.data.ffcv.encode import encoded
from beton_items import noise_item

def slow_item(index):
    time.sleep(1.0)
    return noise_item(index)

if __name__ == "__main__":
    for made in encoded(1000, slow_item, 12, None, 2, str):
        print("made", flush=True)
"""


def start(tmp_path: Path, script: str) -> subprocess.Popen[str]:
    (tmp_path / "script.py").write_text(script)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/data'}"}
    return subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=environ, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_writers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, SLOW)
    wait_until(lambda: len(spawned(process.pid)) == 2)
    writers = spawned(process.pid)
    time.sleep(3.0)  # until they have imported what they need, and work
    os.kill(process.pid, signal.SIGKILL)
    process.wait()  # not communicate(): writers that live on hold the pipes
    try:
        gone, alive = psutil.wait_procs(writers, timeout=5)
        assert (len(gone), alive) == (2, [])
    finally:
        for writer in writers:
            if writer.is_running():
                writer.kill()
        process.communicate()


UNGUARDED = """
from beton_items import noise_item
from harness.data.ffcv.encode import encoded

class Item:
    def __init__(self):
        self.names = ["a name as in a large folder"] * 100_000 + [str(i) for i in range(100_000)]
    def __call__(self, index):
        return noise_item(index)

list(encoded(100, Item(), 12, None, 2, str))
"""


def test_writers_that_die_at_their_start_make_no_parent_wait(tmp_path: Path) -> None:
    """The list of files is larger than a pipe holds, and who should read it is dead."""
    process = start(tmp_path, UNGUARDED)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1
    assert "could not import this script (it then says why above)" in said


TORCHLESS = """
import sys
from harness.data.ffcv.encode import encoded
from harness.data.progress import silent
from harness.data.prepare.export import StoredImage
from harness.data.sources.class_folders import open_class_folders
from pathlib import Path

class Item(StoredImage):
    def __call__(self, index):
        if "torch" in sys.modules:
            raise ValueError("torch is loaded")
        return super().__call__(index)

if __name__ == "__main__":
    import torch
    split, _ = open_class_folders(Path("images"), silent)
    print(len(list(encoded(len(split), Item(split, 16), 16, None, 2, split.name))))
"""


def test_writers_load_no_torch_where_their_parent_has_it(tmp_path: Path, class_folders: Path) -> None:
    process = start(tmp_path, TORCHLESS)
    shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown.strip()) == (0, "12"), said
