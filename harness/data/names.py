"""The names of loaders and stored formats, written once. Imports nothing, so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal, TypeAlias

LoaderName: TypeAlias = Literal["auto", "ffcv", "folder"]  # what a user asks for; auto is ffcv where it works
StoreFormat: TypeAlias = Literal["raw", "jpeg"]
Split: TypeAlias = Literal["train", "val"]
