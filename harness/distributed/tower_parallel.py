"""Model parallelism as in 2012: two ranks train one network, and each holds one of its columns
(variants/modules/tower_rank.py).

    torchrun --nproc-per-node 2 -m harness run --variant grouped_2gpu --placement two_towers

The batch is not divided: both ranks read the whole of each batch, and the first one has the scores and
the loss. What is computed is what one process with both towers computes, in the same order, so on the
CPU the losses are equal to the bit:

* Both ranks' generators have one state. A rank draws the dropout masks of both columns, and the second
  rank also draws what the loss draws.
* The update rules work on each weight by itself. Only clipping needs the norm of all gradients; it adds
  the squares of the ranks' norms, so that with clip_norm the last bits differ.
* Recorded losses, errors and results are sums over the ranks, to which the second one adds zeros. So
  schedules and stop_below see the same numbers on both.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from harness.distributed.ranks import Ranks
from harness.errors import UsageError
from harness.loss import classification_loss, training_loss
from harness.spec import RunSpec
from variants.modules.network import Network
from variants.modules.tower_rank import TowerRank
from variants.recipes.recipe import Loss

RANKS = 2


def tower_loss(
    model: TowerRank, images: Tensor, labels: Tensor, boxes: Tensor | None, loss: Loss, fraction: float
) -> tuple[Tensor, Tensor]:
    """(logits, loss) on the first rank, as `training_loss` has them. On the second one no logits
    (0, classes), and a zero whose `backward` goes through its tower.
    """
    if model.rank == 0:
        return training_loss(model, images, labels, boxes, loss)
    nothing = model(images)
    zeros = nothing.new_zeros(len(labels), model.num_classes)
    classification_loss(zeros, labels, loss)  # draws from torch's generator as the first rank's does
    return zeros[:0], nothing.sum().float()


def clip_gradients(model: Network, weights: Sequence[Tensor], limit: float, ranks: Ranks) -> None:
    """torch's clip_grad_norm_, also for weights that are divided among the ranks."""
    if not isinstance(model, TowerRank):
        clip_grad_norm_(weights, limit)
        return
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = get_total_norm(gradients)
    whole = ranks.sum(norm.square()).sqrt().to(norm.device)
    clip_grads_with_norm_(weights, limit, whole)


def refuse_unsuitable_towers(spec: RunSpec) -> None:
    """Raise UsageError for a run that two ranks with a tower each can't do."""
    if spec.world_size != RANKS:
        raise UsageError(
            f"two towers need {RANKS} ranks, not {spec.world_size}; use torchrun --nproc-per-node {RANKS}"
        )
