"""For tests of the whole: a tiny data set of class folders, and the command line called in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import Call, Said, make_class_folders
from hypothesis import settings

from harness.cli.app import main
from harness.setup.cache import cache_folder
from variants.plugins import register

# before torch is loaded: threads that spin slow the others
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A shell starts background jobs with SIGINT ignored, and processes started by the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# a cache of its own would compile for 8 s
os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))

settings.register_profile("suite", max_examples=200, deadline=None)
settings.register_profile("fuzz", max_examples=10_000, deadline=None)  # nox -s fuzz
settings.load_profile("suite")  # pytest --hypothesis-profile has the last word

register()  # the tests of all rows are tests of rows that installed packages add, too


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Commands, and torch's elastic launcher, set handlers for the whole process; the next test has none of them."""
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def torch_as_before() -> Iterator[None]:
    """torch's settings, which a run sets for the whole process, are restored after the test."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    return make_class_folders(tmp_path / "images")


@pytest.fixture
def call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    torch_as_before: None,
) -> Iterator[Call]:
    """`call("run", "--variant", "no_lrn")` in tmp_path, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    stderr = sys.stderr

    def called(*words: str | Path) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    yield called
    sys.stderr = stderr
