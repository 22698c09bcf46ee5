"""What a command says when a test calls it, and a tiny data set of class folders to call it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from harness.records.store import Store


@dataclass(frozen=True)
class Said:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one sentence that says what went wrong, and that it is one, the last, without a traceback."""
        lines = self.err.splitlines()
        assert [line.startswith("error: ") for line in lines] == [False] * (len(lines) - 1) + [True], (
            self.err
        )
        assert "Traceback" not in self.err
        return lines[-1].removeprefix("error: ")


Call = Callable[..., Said]
SMALL_DATA = ("--data", "synthetic", "--limit-train", "64", "--limit-val", "50")
SUBMIT_STUDY = ("submit", "reproduce", *SMALL_DATA, "--seeds", "1")


def make_class_folders(root: Path, train: int = 12, val: int = 8) -> Path:
    """Pictures in train/ and val/ of four classes that differ in colour."""
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            path = root / split / "abcd"[number % 4] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = np.random.default_rng(number).integers(0, 120, (40, 44, 3), dtype=np.uint8)
            drawn[..., number % 3] += 100
            Image.fromarray(drawn).save(path)
    return root


def run_on(folder: Path) -> tuple[str, ...]:
    """The words of a short run on such a data set."""
    words = "run", "--variant", "no_lrn", "--data", "folder", "--path", str(folder)
    return (*words, "--loader", "folder")


def finished(store: Store, machine: str) -> set[str]:
    """The digests of the runs that ended ok on that machine, of the records that a report would count."""
    own = [record for record in store.verified().records if record.env.machine_id == machine]
    return {record.spec.digest for record in own if record.summary.status == "ok"}
