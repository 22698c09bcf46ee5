"""Model parallelism as in the paper: the two columns of a net on two devices, with alexnet.py's weights
and outputs.

Each tower holds one column's kernels (columns.py). It reads the other column's maps only where the
paper's GPUs did: before layers with groups=1 (conv3 and the dense layers; sec. 3.2 and 3.5). The
classifier is on the first device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from variants.columns import column_rows, reads_both
from variants.modules.alexnet import AlexNet, ParameterType, layer_module
from variants.spec import AlexNetSpec, LayerRow

Devices = tuple[torch.device | str, torch.device | str]


class TowerModule(nn.Module):
    """What two towers in one process, and one in its own, have in common."""

    spec: AlexNetSpec

    def forward(self, x: Tensor) -> Tensor:
        """As AlexNet.forward: images on any device -> class scores (N, classes) on the first device."""
        return self._head(self._features(x), 0)

    def forward_with_box(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As AlexNet.forward_with_box."""
        features = self._features(x)
        return self._head(features, 0), self._head(features, 1)

    def layer_of(self, parameter: str) -> tuple[str, str, ParameterType]:
        """As AlexNet.layer_of, for a parameter such as `tower0.conv1.weight`."""
        _, name, leaf = parameter.split(".")
        return name, self.spec.layer_kinds[name], "bias" if leaf == "bias" else "weight"

    def _features(self, x: Tensor) -> Tensor:
        """The input of the heads, on the first device."""
        raise NotImplementedError

    def _head(self, features: Tensor, number: int) -> Tensor:
        """Class scores (number 0) or boxes (1)."""
        raise NotImplementedError


class Towers(TowerModule):
    """A spec's net as two towers without initial weights; `split` returns a usable one.

    `state_dict` and `load_state_dict` use the names of alexnet.py, with the kernels of both columns in
    one tensor. Raises SpecError for a net whose layers can't be divided into two columns.
    """

    def __init__(self, spec: AlexNetSpec, devices: Devices) -> None:
        super().__init__()
        self.spec = spec
        self.num_classes = spec.classes
        self.devices = devices
        column = column_rows(spec)
        self.crosses = [reads_both(row) for row in spec.rows[: len(column)]]
        for side in (0, 1):
            self.add_module(f"tower{side}", _chain(column))
        if devices[0] != devices[1]:
            for side in (0, 1):
                draw_own_masks(self._tower(side), side)
        self.add_module("heads", _chain(spec.rows[len(column) :]))
        self.register_state_dict_post_hook(_join_columns)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_part_columns)  # type: ignore[no-untyped-call]

    def _features(self, x: Tensor) -> Tensor:
        columns = [x.to(device) for device in self.devices]
        for at, crosses in enumerate(self.crosses):
            if crosses and at:  # both devices have the image, which the first layer reads
                columns = [_gather(columns, device) for device in self.devices]
            columns = [self._tower(side)[at](maps) for side, maps in enumerate(columns)]
        return _gather(columns, self.devices[0])

    def _head(self, features: Tensor, number: int) -> Tensor:
        made: Tensor = self.get_submodule("heads")[number](features)  # type: ignore[index]
        return made

    def _tower(self, side: int) -> nn.Sequential:
        tower = self.get_submodule(f"tower{side}")
        assert isinstance(tower, nn.Sequential)
        return tower


class ColumnDropout(nn.Module):
    """Dropout of column number `side` on a device of its own. It draws the masks of both columns, the
    first one's first, as one device with both does.

    So the masks of the columns differ, although their devices' generators have the same seed, and a
    tower has the same masks wherever the other one is.
    """

    def __init__(self, p: float, side: int) -> None:
        super().__init__()
        self.p, self.side = p, side

    def forward(self, x: Tensor) -> Tensor:
        masked = [
            F.dropout(x if side == self.side else x.detach(), self.p, self.training) for side in (0, 1)
        ]
        return masked[self.side]


def split(net: AlexNet, devices: Devices) -> Towers:
    """The net with its present weights as two towers; the two devices may be the same one."""
    with torch.device("meta"):
        towers = Towers(net.spec, devices).to(next(net.parameters()).dtype)
    for name, device in (("tower0", devices[0]), ("tower1", devices[1]), ("heads", devices[0])):
        towers.get_submodule(name).to_empty(device=device)
    towers.load_state_dict(net.state_dict())
    return towers.train(net.training)


def draw_own_masks(tower: nn.Module, side: int) -> None:
    """Give a tower on a device of its own the dropout that it needs there."""
    for name, layer in tower.named_children():
        if isinstance(layer, nn.Dropout):
            setattr(tower, name, ColumnDropout(layer.p, side))


def _chain(rows: Iterable[LayerRow]) -> nn.Sequential:
    made, before = nn.Sequential(), ""
    for row in rows:
        made.add_module(row.layer.name, layer_module(row, before))
        before = row.layer.kind
    return made


def _gather(columns: list[Tensor], device: torch.device | str) -> Tensor:
    return torch.cat([maps.to(device) for maps in columns], dim=1)


def _join_columns(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}tower0.")]:
        name = key.removeprefix(f"{prefix}tower0.")
        first, second = state.pop(key), state.pop(f"{prefix}tower1.{name}")
        state[prefix + name] = torch.cat([first, second.to(first.device)]) if first.dim() else first
    for key in [key for key in state if key.startswith(f"{prefix}heads.")]:
        state[prefix + key.removeprefix(f"{prefix}heads.")] = state.pop(key)


def _part_columns(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    heads = {name for name, _ in module.get_submodule("heads").named_children()}
    for key in [key for key in state if key.startswith(prefix)]:
        name, whole = key.removeprefix(prefix), state.pop(key)
        if name.partition(".")[0] in heads:
            state[f"{prefix}heads.{name}"] = whole
        else:
            for side, half in enumerate(whole.chunk(2) if whole.dim() else (whole, whole)):
                state[f"{prefix}tower{side}.{name}"] = half
