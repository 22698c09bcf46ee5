"""`Placement`: device, threads and workers of a run.

They are recorded in env.json and are not in the digest.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from variants.values import value

# what a user asks for; auto is ffcv if it works
LoaderName: TypeAlias = Literal["auto", "ffcv", "folder"]


@value
class Placement:
    """device: torch's name, such as "cpu" or "cuda:1". threads: torch's intra-op threads.

    second_device: of the second tower in this process; it may be the same one. None: the process has one
    device.
    workers: the loader's. concurrent: number of runs at a time on this machine.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    loader: LoaderName = "auto"
    concurrent: int = 1
    second_device: str | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        """Each device once."""
        return (
            (self.device,)
            if self.second_device in (None, self.device)
            else (self.device, self.second_device)
        )
