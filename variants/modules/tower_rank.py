"""One tower of two in a process of its own; torch.distributed carries the crosslinks (gloo, or NCCL on
GPUs).

Both processes read the whole batch. Each holds one column's kernels, and the first one the classifier.
The scores and gradients are those of towers.py, to the bit: a gradient that comes back through a
crosslink is a sum of two numbers. So are the dropout masks, if both processes' generators have one
state.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from variants.modules.towers import TowerModule, Towers, draw_own_masks


@dataclass
class Sent:
    """Bytes that this tower has sent to the other one, and the seconds in which it sent or waited.

    On a GPU the seconds are only those in which the process gave work to NCCL.
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        start_s = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start_s


class TowerRank(TowerModule):
    """Tower number `rank` of `towers`, whose modules it takes over. sent: counts what goes to the other
    process.

    Rank 0 returns class scores (N, classes). Rank 1 returns an empty tensor (N, 0): call `backward` on
    its sum when rank 0 calls it on its loss, since the gradients travel then.
    Parameters have the names that they have in `towers`, and so has the state dict.
    """

    def __init__(self, towers: Towers, rank: int, sent: Sent | None = None) -> None:
        super().__init__()
        self.spec, self.num_classes = towers.spec, towers.num_classes
        self.crosses, self.rank, self.sent = towers.crosses, rank, sent or Sent()
        self.tower = f"tower{rank}"
        self.add_module(self.tower, towers.get_submodule(self.tower))
        draw_own_masks(self.get_submodule(self.tower), rank)
        heads = towers.get_submodule("heads")
        assert isinstance(heads, nn.Sequential)
        self.heads = heads if rank == 0 else nn.Sequential()

    def _features(self, x: Tensor) -> Tensor:
        layers = self.get_submodule(self.tower).children()
        for at, (crosses, layer) in enumerate(zip(self.crosses, layers, strict=True)):
            if crosses and at:  # both ranks have the image, which the first layer reads
                x = Crosslink.apply(x, self.rank, self.sent)
            x = layer(x)
        features: Tensor = ToFirst.apply(x, self.rank, self.sent)
        return features

    def _head(self, features: Tensor, number: int) -> Tensor:
        made: Tensor = self.heads[number](features) if self.rank == 0 else features
        return made


class Crosslink(torch.autograd.Function):
    """This tower's maps (N, C/2, ...) -> those of both (N, C, ...), by all-gather.

    Its gradient is a reduce-scatter: each rank sends the part of the other's maps, and adds what it
    receives.
    """

    @staticmethod
    def forward(ctx: Any, mine: Tensor, rank: int, sent: Sent) -> Tensor:
        ctx.rank, ctx.sent, ctx.maps_last = rank, sent, _maps_last(mine)
        packed = _packed(mine, ctx.maps_last)
        columns = [torch.empty_like(packed) for _ in range(2)]
        sent.forward += packed.nbytes
        with sent.timed():
            dist.all_gather(columns, packed)
        return torch.cat([_unpacked(column, ctx.maps_last) for column in columns], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        parts = [_packed(part, ctx.maps_last) for part in gradient.chunk(2, dim=1)]
        mine, other = parts[ctx.rank], parts[1 - ctx.rank]
        received = torch.empty_like(mine)
        ctx.sent.backward += other.nbytes
        exchange = [
            dist.P2POp(dist.isend, other, 1 - ctx.rank),
            dist.P2POp(dist.irecv, received, 1 - ctx.rank),
        ]
        with ctx.sent.timed():
            for work in dist.batch_isend_irecv(exchange):
                work.wait()
        return _unpacked(mine + received, ctx.maps_last), None, None


class ToFirst(torch.autograd.Function):
    """This tower's maps -> those of both on rank 0, and (N, 0) on rank 1."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, rank: int, sent: Sent) -> Tensor:
        ctx.rank, ctx.sent, ctx.maps_last = rank, sent, _maps_last(mine)
        packed = _packed(mine, ctx.maps_last)
        if rank == 1:
            ctx.like = torch.empty_like(packed)
            sent.forward += packed.nbytes
            with sent.timed():
                dist.send(packed, 0)
            return mine.new_zeros(len(mine), 0)
        other = torch.empty_like(packed)
        with sent.timed():
            dist.recv(other, 1)
        return torch.cat([mine, _unpacked(other, ctx.maps_last)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if ctx.rank == 1:
            with ctx.sent.timed():
                dist.recv(ctx.like, 0)
            return _unpacked(ctx.like, ctx.maps_last), None, None
        mine, other = gradient.chunk(2, dim=1)
        packed = _packed(other, ctx.maps_last)
        ctx.sent.backward += packed.nbytes
        with ctx.sent.timed():
            dist.send(packed, 1)
        return mine, None, None


def _maps_last(x: Tensor) -> bool:
    """Whether the maps of a pixel are adjacent in memory; it is the same on both ranks."""
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _packed(x: Tensor, maps_last: bool) -> Tensor:
    """Contiguous, as the collectives need it: (N, height, width, C) if maps_last, else (N, C, ...)."""
    return (x.movedim(1, -1) if maps_last else x).contiguous()


def _unpacked(x: Tensor, maps_last: bool) -> Tensor:
    """(N, C, ...) again, in the same memory."""
    return x.movedim(-1, 1) if maps_last else x
