"""The names of splits and stored formats, and the usual JPEG quality.

Imports nothing, so that `--help` stays fast.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

StoreFormat: TypeAlias = Literal["raw", "jpeg"]
Split: TypeAlias = Literal["train", "val"]
JPEG_QUALITY = 90  # where none is asked for
