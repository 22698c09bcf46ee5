"""The names of splits and stored formats, written once. Imports nothing, so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal, TypeAlias

StoreFormat: TypeAlias = Literal["raw", "jpeg"]
Split: TypeAlias = Literal["train", "val"]
