"""Model parallelism as in the paper: the two columns of a net on two devices, with alexnet.py's weights and outputs.

Each tower holds one column's kernels. It reads the other column's maps only where the paper's GPUs did: before layers
with groups=1 (conv3 and the dense layers; sec. 3.2 and 3.5). The classifier is on the first device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from variants.layers import LRN, Activation, AdaptivePool, BatchNorm, Conv, Dense, Dropout, Pool, Shape, SpatialLRN
from variants.modules.alexnet import AlexNet, layer_module
from variants.spec import AlexNetSpec, LayerRow
from variants.values import SpecError

Devices = tuple[torch.device | str, torch.device | str]
PER_MAP = (Activation, AdaptivePool, BatchNorm, Dropout, Pool, SpatialLRN)  # work on each map separately


class Towers(nn.Module):
    """A spec's net as two towers without initial weights; `split` returns a usable one.

    `state_dict` and `load_state_dict` use the names of alexnet.py, with the kernels of both columns in one tensor.
    Raises SpecError for a net whose layers can't be divided into two columns.
    """

    def __init__(self, spec: AlexNetSpec, devices: Devices) -> None:
        super().__init__()
        self.spec = spec
        self.devices = devices
        body = spec.rows[: len(spec.layers) - 1]
        self.crosses = [isinstance(row.layer, Conv | Dense) and row.layer.groups == 1 for row in body]
        if not any(self.crosses[:1]):
            raise SpecError(f"{spec.layers[0].name}: the first layer must read the whole image; use groups=1")
        for tower in ("tower0", "tower1"):
            self.add_module(tower, _chain([_column(row) for row in body]))
        self.add_module("heads", _chain(spec.rows[len(body) :]))
        self.register_state_dict_post_hook(_join_columns)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_part_columns)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """As AlexNet.forward: images on any device -> class scores (N, classes) on the first device."""
        columns = [x.to(device) for device in self.devices]
        for at, crosses in enumerate(self.crosses):
            if crosses and at:  # both devices have the image, which the first layer reads
                columns = [_gather(columns, device) for device in self.devices]
            columns = [self._tower(side)[at](maps) for side, maps in enumerate(columns)]
        scores: Tensor = self.get_submodule("heads")[0](_gather(columns, self.devices[0]))  # type: ignore[index]
        return scores

    def _tower(self, side: int) -> nn.Sequential:
        tower = self.get_submodule(f"tower{side}")
        assert isinstance(tower, nn.Sequential)
        return tower


def split(net: AlexNet, devices: Devices) -> Towers:
    """The net with its present weights as two towers; the two devices may be the same one."""
    with torch.device("meta"):
        towers = Towers(net.spec, devices).to(next(net.parameters()).dtype)
    for name, device in (("tower0", devices[0]), ("tower1", devices[1]), ("heads", devices[0])):
        towers.get_submodule(name).to_empty(device=device)
    towers.load_state_dict(net.state_dict())
    return towers.train(net.training)


def _column(row: LayerRow) -> LayerRow:
    """One column's half of a row: half of the kernels, and half of the inputs unless the layer reads both columns."""
    layer = row.layer
    match layer:
        case Conv(separable="no", residual=False, groups=1 | 2) | Dense(groups=1 | 2) if layer.out % 2 == 0:
            shape = row.input if layer.groups == 1 else _half(row.input)
            return replace(row, layer=replace(layer, out=layer.out // 2, groups=1), input=shape)
        case LRN(groups=2):
            return replace(row, layer=replace(layer, groups=1), input=_half(row.input))
        case _ if isinstance(layer, PER_MAP) and row.input[0] % 2 == 0:
            return replace(row, input=_half(row.input))
    raise SpecError(
        f"{layer.name}: kind={layer.kind} can't be divided into two columns; use groups=2, or groups=1 with an even "
        f"number of kernels, on convolutions and dense layers, and groups=2 on response normalisation"
    )


def _half(shape: Shape) -> Shape:
    return (shape[0] // 2, shape[1], shape[2])


def _chain(rows: list[LayerRow] | tuple[LayerRow, ...]) -> nn.Sequential:
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
