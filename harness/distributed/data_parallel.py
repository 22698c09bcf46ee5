"""Data parallelism: the ranks of a run train one network, and each computes the loss of its slice of
every batch.

torch's DistributedDataParallel adds the gradients: NCCL on GPUs, gloo on the CPU. `recipe.batch_size`
is the size of the global batch, whatever the number of ranks. What is computed follows from that batch:

* Each rank's loss is weighted by its fraction of the global batch, and gradients are summed over ranks.
  So the gradient is the mean over the global batch for slices of any sizes. (DDP's own average gives
  ranks, not images, equal weights.)
* Recorded losses and errors are those of the global batch. Evaluations divide the images among the
  ranks and put the results of all images together, so that schedules and stop_below see the same
  numbers on each rank.
* Order, crops and noise are functions of (seed, epoch, image). Dropout masks are not: a rank draws
  masks for its own slice, by a seed made from (seed, step, rank). So runs of different world sizes drop
  different units, as runs of different seeds do. The masks need no state: a resumed run gives the same
  bits. Masks that are drawn for the global batch and sliced would agree between world sizes, but the
  dropout kernels of GPUs can't be sliced like that.
* Batch normalisation would see a slice instead of the batch, so such networks are refused
  (`refuse_unsuitable`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]  # it has no entry in __all__
from torch.nn.parallel import DistributedDataParallel

from harness.data.augment.counter_rng import DROPOUT, stream_base
from harness.distributed.ranks import Ranks
from harness.distributed.tower_parallel import refuse_unsuitable_towers, tower_loss
from harness.errors import UsageError
from harness.loss import maybe_compiled, training_loss
from harness.spec import RunSpec
from variants.layers import BatchNorm, Inception
from variants.modules.network import Network
from variants.modules.tower_rank import TowerRank
from variants.recipes.recipe import Loss, Recipe

LossFunction = Callable[[Tensor, Tensor, Tensor | None, Loss, float], tuple[Tensor, Tensor]]


@dataclass
class Traffic:
    """What this rank has handed to all-reduce: bytes of gradients, and calls (one per bucket of
    DDP).
    """

    gradient_bytes: int = 0
    calls: int = 0

    def clear(self) -> None:
        self.gradient_bytes = self.calls = 0


def loss_function(
    model: Network, ranks: Ranks, recipe: Recipe, device: torch.device, traffic: Traffic | None = None
) -> LossFunction:
    """A function (images, labels, boxes, loss, fraction) -> (logits of the slice, its part of the
    global batch's loss).

    fraction: the slice's part of the global batch's images. `backward` gives each rank the gradient of
    the mean loss over the global batch. traffic: counts what is handed to all-reduce.
    """
    if isinstance(model, TowerRank):
        return partial(tower_loss, model)
    if ranks.world_size == 1:
        loss_of = maybe_compiled(recipe)
        return lambda images, labels, boxes, loss, fraction: loss_of(model, images, labels, boxes, loss)
    if model.spec.box is not None and not has_box_loss(model, recipe):
        # DDP would wait for its gradient
        model.get_submodule(model.spec.box.name).requires_grad_(False)
    parallel, traffic = DistributedDataParallel(SliceLoss(model)), traffic or Traffic()
    parallel.register_comm_hook(traffic, sum_gradients)
    # DDP divides the weights into other buckets after its first step, and other buckets may add in
    # another order. A step without images makes that happen now, so that a resumed run adds as the run
    # that never stopped.
    none = torch.empty(0, dtype=torch.int64, device=device)
    parallel(none, none, None, recipe.loss, 0.0)[1].backward()
    traffic.clear()
    return parallel


def has_box_loss(model: Network, recipe: Recipe) -> bool:
    """Whether the network has a box head and the recipe trains it."""
    return model.spec.box is not None and recipe.loss.box_weight != 0.0


def seed_dropout(model: Network, ranks: Ranks, seed: int, step: int) -> None:
    """Seed torch's generators before a step.

    One rank, and ranks with a tower each, go on with the seed of the run's start instead.
    """
    if ranks.world_size > 1 and not isinstance(model, TowerRank):
        torch.manual_seed(stream_base(seed, step, DROPOUT, ranks.rank))


class SliceLoss(nn.Module):
    """The part of one rank's slice in the mean loss over the global batch."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Tensor, labels: Tensor, boxes: Tensor | None, loss: Loss, fraction: float
    ) -> tuple[Tensor, Tensor]:
        if len(labels) == 0:  # DDP still needs a gradient of each weight that other ranks train
            zero = (
                torch.stack(
                    [weight.sum() for weight in self.parameters() if weight.requires_grad]
                ).sum()
                * 0.0
            )
            return torch.zeros(0, self.model.num_classes, device=zero.device), zero
        logits, mean = training_loss(self.model, images, labels, boxes, loss)
        return logits, mean * fraction


def sum_gradients(traffic: Traffic, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's communication hook: the sum over ranks. torch's own divides it by the number of ranks."""
    traffic.gradient_bytes += bucket.buffer().nbytes
    traffic.calls += 1
    future: torch.futures.Future[list[Tensor]] = dist.all_reduce(
        bucket.buffer(), async_op=True
    ).get_future()
    return future.then(lambda done: done.value()[0])


# DDP compares the hook's annotations with these classes, and would compare strings without success.
sum_gradients.__annotations__ |= {"bucket": GradBucket, "return": torch.futures.Future[Tensor]}


def refuse_unsuitable(spec: RunSpec) -> None:
    """Raise UsageError for a run that several ranks can't do."""
    if spec.world_size == 1:
        return
    if spec.layout == "two_towers":
        refuse_unsuitable_towers(spec)
        return
    if spec.recipe.compile:
        raise UsageError("compile=true works with one rank; use --set compile=false with torchrun")
    if spec.recipe.batch_size < spec.world_size:
        raise UsageError(
            f"a global batch of {spec.recipe.batch_size} images is too small for {spec.world_size} "
            "ranks; use fewer ranks or --set batch_size=N"
        )
    for layer in spec.net.layers:
        if isinstance(layer, BatchNorm) or (isinstance(layer, Inception) and layer.batch_norm):
            raise UsageError(
                f"{spec.variant} has batch normalisation ({layer.name}), which would see a rank's "
                "slice instead of the global batch; train it without torchrun"
            )
