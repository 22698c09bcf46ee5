"""That training's freed memory stays with the process, counted in page faults of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from harness.machine.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for round in range(12):
    if round == 8:
        before = faults()
    torch.ones(10_000_000) + 1  # two tensors of 40 MB; glibc's own threshold grows to 32
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_that_is_freed_is_used_again_without_page_faults() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", COUNT, how]
        return int(
            subprocess.run(
                command, capture_output=True, text=True, check=True, env={**os.environ}
            ).stdout
        )

    assert faults("keep") < 200 < 10_000 < faults("as it is")
