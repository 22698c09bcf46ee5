"""`AlexNetSpec`: a network as a frozen list of layers; computes shapes, parameters and MACs. No torch.

A variant is the paper's net with edits, such as `PAPER.without("norm1", "norm2")` or
`PAPER.but(pool1={"size": 2, "stride": 2})`. Layers have the paper's names: conv1 ... fc8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from variants.layers import Activation, BatchNorm, Dense, Dropout, Layer, Shape
from variants.values import SpecError, value


@value
class LayerRow:
    """One row of the layer table: a layer, its input and output shape, its parameters and MACs."""

    layer: Layer
    input: Shape
    output: Shape
    parameters: int
    macs: int


@value
class AlexNetSpec:
    """A network. Raises SpecError, with one sentence, if it can't be built.

    input_size: side of the square input in pixels, as the loader delivers it.
    layers: from the image to the class scores; the last one is the classifier.
    box: a second head of 4 outputs (x, y, width, height as fractions of the image) beside the
    classifier, or None.
    """

    input_size: int
    input_channels: int = 3
    layers: tuple[Layer, ...]
    box: Dense | None = None

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise SpecError(f"layers: two are named '{name}'; give each its own name")
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise SpecError("layers: the last one must be a dense classifier such as fc8")
        if self.box is not None and self.box.out != 4:
            raise SpecError(f"box: out={self.box.out}, but a box has 4 numbers; use out=4")
        _ = self.rows  # computes every shape, and raises SpecError where layers don't fit

    @cached_property
    def rows(self) -> tuple[LayerRow, ...]:
        """The layer table in the order of the forward pass; the box head, if any, comes last."""
        rows, shape = [], (self.input_channels, self.input_size, self.input_size)
        flat = False
        for layer in self.layers:
            if isinstance(layer, Dense):
                flat, shape = True, (shape[0] * shape[1] * shape[2], 1, 1)
            elif flat and not isinstance(layer, Activation | BatchNorm | Dropout):
                raise SpecError(
                    f"{layer.name}: kind={layer.kind} after a dense layer has no map; put it before "
                    "the first"
                )
            rows.append(_row(layer, shape))
            shape = rows[-1].output
        if self.box is not None:
            rows.append(_row(self.box, rows[-1].input))
        return tuple(rows)

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass."""
        return sum(row.macs for row in self.rows)

    @property
    def layer_kinds(self) -> dict[str, str]:
        """The kind of each layer, the box head included, by name."""
        return {row.layer.name: row.layer.kind for row in self.rows}

    @property
    def classes(self) -> int:
        return self.layers[-1].out  # type: ignore[union-attr]  # __post_init__ checked that it is dense

    def layer(self, name: str) -> Layer:
        return self.layers[self._index(name)]

    def but(self, **changes: Mapping[str, Any]) -> AlexNetSpec:
        """The same net with fields of named layers changed: `but(conv1={"out": 48}, pool1={"size":
        2})`.
        """
        layers = list(self.layers)
        for name, fields in changes.items():
            layers[self._index(name)] = replace(layers[self._index(name)], **fields)
        return replace(self, layers=tuple(layers))

    def without(self, *names: str) -> AlexNetSpec:
        gone = {self._index(name) for name in names}
        return replace(
            self, layers=tuple(layer for i, layer in enumerate(self.layers) if i not in gone)
        )

    def after(self, name: str, *added: Layer) -> AlexNetSpec:
        at = self._index(name) + 1
        return replace(self, layers=(*self.layers[:at], *added, *self.layers[at:]))

    def before(self, name: str, *added: Layer) -> AlexNetSpec:
        at = self._index(name)
        return replace(self, layers=(*self.layers[:at], *added, *self.layers[at:]))

    def move(self, name: str, *, after: str) -> AlexNetSpec:
        return self.without(name).after(after, self.layer(name))

    def with_classes(self, classes: int) -> AlexNetSpec:
        """The same net for another number of classes."""
        return self.but(**{self.layers[-1].name: {"out": classes}})

    def _index(self, name: str) -> int:
        for i, layer in enumerate(self.layers):
            if layer.name == name:
                return i
        raise SpecError(
            f"no layer '{name}'; this net has {', '.join(layer.name for layer in self.layers)}"
        )


def _row(layer: Layer, shape: Shape) -> LayerRow:
    output = layer.output(shape)
    if min(output) < 1:
        raise SpecError(
            f"{layer.name}: the output shape {output} is empty; use at least one kernel and a larger "
            "input"
        )
    return LayerRow(
        layer=layer,
        input=shape,
        output=output,
        parameters=layer.parameters(shape),
        macs=layer.macs(shape),
    )
