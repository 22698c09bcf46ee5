"""Where everything that can be made again lives: HARNESS_CACHE, else the XDG cache. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """HARNESS_CACHE; else $XDG_CACHE_HOME/alexnet-harness; else ~/.cache/alexnet-harness. Not created here."""
    if own := environ.get("HARNESS_CACHE"):
        return Path(own).expanduser().absolute()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "alexnet-harness"
