"""One tower of two in a process of its own; torch.distributed carries the crosslinks (gloo, or NCCL on
GPUs).

Both processes read the whole batch. Each holds one column's kernels, and the first one the classifier.
The scores and gradients are those of towers.py, to the bit: a gradient that comes back through a
crosslink is a sum of two numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from variants.modules.towers import Towers


@dataclass
class Sent:
    """Bytes that this tower has sent to the other one."""

    forward: int = 0
    backward: int = 0


class TowerRank(nn.Module):
    """Tower number `rank` of `towers`, whose modules it takes over. sent: counts what goes to the other
    process.

    Rank 0 returns class scores (N, classes). Rank 1 returns an empty tensor (N, 0): call `backward` on
    its sum when rank 0 calls it on its loss, since the gradients travel then.
    """

    def __init__(self, towers: Towers, rank: int, sent: Sent | None = None) -> None:
        super().__init__()
        self.crosses, self.rank, self.sent = towers.crosses, rank, sent or Sent()
        self.tower = towers.get_submodule(f"tower{rank}")
        self.heads = (
            nn.Sequential(*towers.get_submodule("heads").children()) if rank == 0 else nn.Sequential()
        )

    def forward(self, x: Tensor) -> Tensor:
        for at, (crosses, layer) in enumerate(zip(self.crosses, self.tower.children(), strict=True)):
            if crosses and at:  # both ranks have the image, which the first layer reads
                x = Crosslink.apply(x, self.rank, self.sent)
            x = layer(x)
        features: Tensor = ToFirst.apply(x, self.rank, self.sent)
        return self.heads[0](features) if self.rank == 0 else features


class Crosslink(torch.autograd.Function):
    """This tower's maps (N, C/2, ...) -> those of both (N, C, ...), by all-gather.

    Its gradient is a reduce-scatter: each rank sends the part of the other's maps, and adds what it
    receives.
    """

    @staticmethod
    def forward(ctx: Any, mine: Tensor, rank: int, sent: Sent) -> Tensor:
        ctx.rank, ctx.sent, mine = rank, sent, mine.contiguous()
        columns = [torch.empty_like(mine) for _ in range(2)]
        sent.forward += mine.nbytes
        dist.all_gather(columns, mine)
        return torch.cat(columns, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        parts = [part.contiguous() for part in gradient.chunk(2, dim=1)]
        mine, other = parts[ctx.rank], parts[1 - ctx.rank]
        received = torch.empty_like(mine)
        ctx.sent.backward += other.nbytes
        exchange = [
            dist.P2POp(dist.isend, other, 1 - ctx.rank),
            dist.P2POp(dist.irecv, received, 1 - ctx.rank),
        ]
        for work in dist.batch_isend_irecv(exchange):
            work.wait()
        return mine + received, None, None


class ToFirst(torch.autograd.Function):
    """This tower's maps -> those of both on rank 0, and (N, 0) on rank 1."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, rank: int, sent: Sent) -> Tensor:
        ctx.rank, ctx.sent, mine = rank, sent, mine.contiguous()
        if rank == 1:
            ctx.like = torch.empty_like(mine)
            sent.forward += mine.nbytes
            dist.send(mine, 0)
            return mine.new_zeros(len(mine), 0)
        other = torch.empty_like(mine)
        dist.recv(other, 1)
        return torch.cat([mine, other], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if ctx.rank == 1:
            dist.recv(ctx.like, 0)
            return ctx.like, None, None
        mine, other = (part.contiguous() for part in gradient.chunk(2, dim=1))
        ctx.sent.backward += other.nbytes
        dist.send(other, 1)
        return mine, None, None
