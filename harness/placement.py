"""Where a run computes and with how many threads and workers: recorded in env.json, no part of the digest."""

from __future__ import annotations

from typing import Literal, TypeAlias

from variants.values import value

LoaderName: TypeAlias = Literal["auto", "ffcv", "folder"]  # what a user asks for; auto is ffcv where it works


@value
class Placement:
    """device: as torch names it, such as "cpu" or "cuda:1". threads: torch's intra-op threads.

    workers: the loader's. concurrent: runs at once on this machine.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    loader: LoaderName = "auto"
    concurrent: int = 1
