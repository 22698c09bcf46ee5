"""The state of a training whose two towers are in two processes, as one process with both has it.

So a checkpoint and the final weights are those of a run in one process, written by the first rank.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from harness.checkpoint import Checkpoints, Resumed
from harness.optim import set_velocity_lrs, velocity_lrs
from harness.train import TrainState
from variants.modules.network import Network
from variants.modules.tower_rank import TowerRank
from variants.modules.towers import Towers
from variants.recipes.recipe import Recipe


def is_whole(state: TrainState) -> bool:
    """Whether this process has all of the net."""
    return not isinstance(state.model, TowerRank)


def whole_state(state: TrainState, recipe: Recipe) -> TrainState:
    """On the first rank the state with both towers, as copies; both ranks must call it. A state that is
    whole is returned as it is, and so is the second rank's, which sends its tensors.
    """
    model = state.model
    if not isinstance(model, TowerRank):
        return state
    mine = _tensors(state)
    if model.rank == 1:
        for tensor in mine.values():
            dist.send(tensor.contiguous(), 0)
        return state
    others = {}
    for name, tensor in mine.items():
        if name.startswith("tower0."):
            received = torch.empty_like(tensor, memory_format=torch.contiguous_format)
            dist.recv(received, 1)
            others[name.replace("tower0.", "tower1.", 1)] = received
    both = _both_towers(model, recipe)
    _fill(both, mine | others)
    set_velocity_lrs(both.optimizer, velocity_lrs(state.optimizer))
    return replace(state, model=both.model, optimizer=both.optimizer)


def load_checkpoint(checkpoints: Checkpoints, state: TrainState, recipe: Recipe) -> Resumed | None:
    """As Checkpoints.load; a rank with one tower takes its part."""
    if not isinstance(state.model, TowerRank):
        return checkpoints.load(state)
    both = _both_towers(state.model, recipe)
    found = checkpoints.load(both)
    if found is not None:
        _fill(state, _tensors(both))
        set_velocity_lrs(state.optimizer, velocity_lrs(both.optimizer))
        state.scheduler.load_state_dict(both.scheduler.state_dict())
        state.lr, state.done, state.finished, state.total = (
            both.lr,
            both.done,
            both.finished,
            both.total,
        )
    return found


def _both_towers(model: TowerRank, recipe: Recipe) -> TrainState:
    """A state with both towers on this rank's device, whose tensors are still to be filled."""
    device = next(model.parameters()).device
    with torch.device("meta"):
        towers = Towers(model.spec, (device, device))
    towers = towers.to_empty(device=device).to(memory_format=torch.channels_last)
    return TrainState.start(towers, recipe)


def _tensors(state: TrainState) -> dict[str, Tensor]:
    """Weights, running statistics and what the optimizer keeps for each weight, by name."""
    found = _own(state.model)
    for name, weight in state.model.named_parameters():
        kept = state.optimizer.state.get(weight, {})
        found |= {f"{name}/{field}": held for field, held in kept.items() if isinstance(held, Tensor)}
    return found


def _fill(state: TrainState, tensors: dict[str, Tensor]) -> None:
    """Copy what belongs to the state's model and optimizer."""
    for name, own in _own(state.model).items():
        own.copy_(tensors[name])
    for name, weight in state.model.named_parameters():
        kept = {
            key.partition("/")[2]: held for key, held in tensors.items() if key.startswith(f"{name}/")
        }
        state.optimizer.state[weight] = {
            field: torch.empty_like(weight).copy_(held) for field, held in kept.items()
        }


def _own(model: Network) -> dict[str, Tensor]:
    return {name: held.detach() for name, held in (*model.named_parameters(), *model.named_buffers())}
