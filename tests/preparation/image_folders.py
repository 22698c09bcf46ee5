"""Small folders of images for the tests of preparation, and ways to change them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(
        path
    )


def break_files(tree: Path) -> None:
    whole = (tree / "train/a/2.png").read_bytes()
    (tree / "train/a/2.png").write_bytes(whole[: len(whole) // 2])
    (tree / "train/b/notes.png").write_text("not an image")
    (tree / "val/b/1.png").write_bytes(b"")


def replace_contents(path: Path) -> None:
    """Other pixels in as many bytes, now."""
    whole = path.read_bytes()
    picture(path, 77)
    other = path.read_bytes()
    assert other != whole
    assert len(other) == len(whole)


def cached(tmp_path: Path) -> list[str]:
    """What lies in the cache but for locks, relative to the folder of the one data set."""
    found = [
        path.relative_to(tmp_path / "cache/data")
        for path in (tmp_path / "cache").rglob("*")
        if path.is_file()
    ]
    return sorted("/".join(path.parts[1:]) for path in found if path.suffix != ".lock")
