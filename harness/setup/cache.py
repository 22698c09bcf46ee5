"""The cache folder, for files that can be made again. Uses the standard library only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from harness.errors import UsageError


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """HARNESS_CACHE; else $XDG_CACHE_HOME/alexnet-harness; else ~/.cache/alexnet-harness.

    Not created here.
    """
    try:
        if own := environ.get("HARNESS_CACHE"):
            return Path(own).expanduser().absolute()
        if base := environ.get("XDG_CACHE_HOME"):
            return Path(base) / "alexnet-harness"
        return Path.home() / ".cache" / "alexnet-harness"
    except RuntimeError as error:  # a user without a home folder, as in some containers
        raise UsageError(
            "no home folder is known for this user; set HARNESS_CACHE to a folder you may write to"
        ) from error
