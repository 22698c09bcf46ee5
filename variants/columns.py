"""The two columns of a net, by arithmetic: the layers of one column, and where it reads the other
column's maps.

In 2012 each column was on its own GPU. A column has half of the kernels of each layer. It reads its own
maps, except before layers with groups=1 (conv3 and the dense layers; sec. 3.2 and 3.5), which read the
maps of both columns.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

from variants.layers import (
    LRN,
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Pool,
    Shape,
    SpatialLRN,
)
from variants.spec import AlexNetSpec, LayerRow
from variants.values import SpecError

# where the columns are: modules/alexnet.py, modules/towers.py
Layout: TypeAlias = Literal["one_device", "two_towers"]
# work on each map separately
PER_MAP = (Activation, AdaptivePool, BatchNorm, Dropout, Pool, SpatialLRN)


def column_rows(spec: AlexNetSpec) -> tuple[LayerRow, ...]:
    """One column's layers from the image to the last one before the classifier, which is not divided.

    Raises SpecError for a net whose layers can't be divided into two columns.
    """
    body = _body(spec)
    if not body or not reads_both(body[0]):
        raise SpecError(
            f"{spec.layers[0].name}: the first layer must read the whole image; use groups=1"
        )
    return tuple(_half_row(row) for row in body)


def reads_both(row: LayerRow) -> bool:
    """Whether a layer of a column reads the maps of both columns (or, as the first layer, the
    image).
    """
    return isinstance(row.layer, Conv | Dense) and row.layer.groups == 1


def crosslinks(spec: AlexNetSpec) -> tuple[LayerRow, ...]:
    """The rows of the whole net whose input comes from both columns and is read by both."""
    return tuple(row for row in _body(spec)[1:] if reads_both(row))


def first_column_macs(spec: AlexNetSpec) -> int:
    """Multiply-accumulates of an image's forward pass on the first device: half of all layers before the
    classifier, and the classifier.
    """
    before = sum(row.macs for row in _body(spec))
    return before // 2 + spec.rows[len(spec.layers) - 1].macs


def _body(spec: AlexNetSpec) -> tuple[LayerRow, ...]:
    return spec.rows[: len(spec.layers) - 1]


def _half_row(row: LayerRow) -> LayerRow:
    """Half of the kernels, and half of the inputs unless the layer reads both columns."""
    layer = row.layer
    match layer:
        case Conv(separable="no", residual=False, groups=1 | 2) | Dense(groups=1 | 2) if (
            layer.out % 2 == 0
        ):
            shape = row.input if layer.groups == 1 else _half(row.input)
            return replace(row, layer=replace(layer, out=layer.out // 2, groups=1), input=shape)
        case LRN(groups=2):
            return replace(row, layer=replace(layer, groups=1), input=_half(row.input))
        case _ if isinstance(layer, PER_MAP) and row.input[0] % 2 == 0:
            return replace(row, input=_half(row.input))
    raise SpecError(
        f"{layer.name}: kind={layer.kind} can't be divided into two columns; use groups=2, or groups=1 "
        "with an even number of kernels, on convolutions and dense layers, and groups=2 on response "
        "normalisation"
    )


def _half(shape: Shape) -> Shape:
    return (shape[0] // 2, shape[1], shape[2])
