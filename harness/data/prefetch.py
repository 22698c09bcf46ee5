"""Copies each batch to a GPU while the GPU still computes with the batch before.

On a CPU it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import torch

from harness.data.base import Batch

# begins to copy; the function it returns gives the copy
Copier: TypeAlias = Callable[[Batch], Callable[[], Batch]]


class StreamCopier:
    """Copies images and labels to a GPU on a stream of its own.

    Memory that is not pinned is pinned first, since only pinned memory is copied beside the
    computation.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, batch: Batch) -> Callable[[], Batch]:
        with torch.cuda.stream(self._stream):
            copy = replace(batch, images=self._copied(batch.images), labels=self._copied(batch.labels))
            done = self._stream.record_event()

        def finished() -> Batch:
            """The copy; computation that follows waits for it, and for no later one."""
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(done)
            for tensor in (copy.images, copy.labels):
                # its memory is not used again before the computation is done with it
                tensor.record_stream(computing)
            return copy

        return finished

    def _copied(self, tensor: torch.Tensor) -> torch.Tensor:
        pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
        return pinned.to(self._device, non_blocking=True)


def ahead(
    batches: Iterator[Batch], device: torch.device, copier: Copier | None = None
) -> Iterator[Batch]:
    """The batches, on the device; the copy of each begins before the one before is given out.

    On a CPU they come as they are. copier: for tests.
    """
    if copier is None:
        if device.type != "cuda":
            yield from batches
            return
        copier = StreamCopier(device)
    waiting: Callable[[], Batch] | None = None
    for batch in batches:
        begun = copier(batch)
        if waiting is not None:
            yield waiting()
        waiting = begun
    if waiting is not None:
        yield waiting()


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor on the device; on a GPU from pinned memory, since any other copy waits for all
    work there.
    """
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )
