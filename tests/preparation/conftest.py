"""A folder of images, and a source of images that are no files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import picture

from harness.data.base import Prepared
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.data.sources import sources
from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import DataSource


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for i in range(4):
        picture(tmp_path / f"images/train/{'ab'[i % 2]}/{i}.png", i)
        picture(tmp_path / f"images/val/{'ab'[i % 2]}/{i}.png", i + 9)
    return tmp_path / "images"


@pytest.fixture
def ready(tree: Path, tmp_path: Path) -> Callable[..., Prepared]:
    def make(**changes: Any) -> Prepared:
        stored = {
            name: changes.pop(name)
            for name in tuple(changes)
            if name in vars(StoreSettings(store_size=16))
        }
        stored_as = StoreSettings(**({"store_size": 16} | stored))
        options = {"path": tree, "loader": "folder", "cache": tmp_path / "cache", "workers": 1}
        return prepare("folder", stored_as, **(options | changes))

    return make


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> str:
    """A source whose pictures are no files, in the table for one test."""
    images = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    split = ArraySplit("memory", images, np.arange(6) % 2, ("a/b", "c"))
    row = DataSource(name="memory", description="-", classes=2, open=lambda *_: (split, split))
    monkeypatch.setitem(sources(), "memory", row)
    return "memory"
