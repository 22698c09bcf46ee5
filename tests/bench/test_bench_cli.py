"""CPU seconds of whole processes: what must feel instant, beside a bare interpreter and `import torch`."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import pytest

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "harness --help": ["-m", "harness", "--help"],
    "harness list": ["-m", "harness", "list"],
    "harness show grouped_2gpu": ["-m", "harness", "show", "grouped_2gpu"],
    "import torch": ["-c", "import torch"],
}


def cpu_seconds() -> float:
    """Of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.benchmark(group="commands", timer=cpu_seconds)
@pytest.mark.parametrize("name", COMMANDS)
def test_cpu_seconds_of_a_command(benchmark: Any, name: str) -> None:
    words = [sys.executable, *COMMANDS[name]]
    done = benchmark.pedantic(
        lambda: subprocess.run(words, capture_output=True, check=True),
        rounds=1 if benchmark.disabled else 7,
    )
    assert done.returncode == 0
