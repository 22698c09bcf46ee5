"""Geometries: `mini` turns a full-size spec into a small net for 32-pixel images with the same design.
No torch.

A small net can be trained on a small machine. It can show whether a change raises or lowers the error;
it shows nothing about the size of the effect on ImageNet.
"""

from __future__ import annotations

from dataclasses import replace

from variants.catalog.edits import WITH_WEIGHTS
from variants.catalog.row import Variant
from variants.layers import AdaptivePool, Conv, Dense, Inception, Layer, Pool, Shape
from variants.recipes.recipe import Geometry
from variants.spec import AlexNetSpec, LayerRow
from variants.values import SpecError

MINI_INPUT, MINI_CLASSES = 32, 10
MINI_MAP = 4  # side of pool5's map; 6 at full size
CONV_SHRINK = 4
DENSE_SHRINK = 8


def spec_for(variant: Variant, geometry: Geometry, classes: int | None = None) -> AlexNetSpec:
    """The row's net in one geometry, for that many classes; None is the row's own number, and 10 at
    mini size.

    Raises SpecError where the row has no such geometry.
    """
    if geometry not in variant.geometries:
        known = ", ".join(variant.geometries)
        raise SpecError(f"{variant.name}: geometry={geometry} does not exist for this net; use {known}")
    if geometry == "mini":
        return to_mini(variant.spec, classes or MINI_CLASSES)
    return variant.spec.with_classes(classes or variant.spec.classes)


def to_mini(spec: AlexNetSpec, classes: int = MINI_CLASSES) -> AlexNetSpec:
    """A full-size net on 32-pixel images: a quarter of the kernels, an eighth of the dense units.

    conv1 becomes 5x5 with stride 1. Every convolution keeps the size of its map, so only pools reduce
    it (32, 16, 8, 4 for three pools of stride 2). Groups, norms, pooling windows and strides, dropout,
    order and number of layers stay. The std of normal initial weights is scaled by sqrt(fan-in at full
    size / fan-in here), so that each layer has the full-size net's gain at the start. Biases keep their
    values, since activations keep their scale.
    """
    stem = next(layer.name for layer in spec.layers if isinstance(layer, Conv))
    layers = tuple(_shrink(layer, stem=layer.name == stem) for layer in spec.layers)
    mini = replace(spec, input_size=MINI_INPUT, layers=layers).with_classes(classes)
    pairs = zip(spec.rows, mini.rows, strict=True)  # the box head, if any, is the last row
    started = tuple(_same_gain(full, small) for full, small in pairs)
    return replace(mini, layers=started[: len(layers)], box=_box(started) if spec.box else None)


def _box(started: tuple[Layer, ...]) -> Dense:
    assert isinstance(started[-1], Dense)
    return started[-1]


def _shrink(layer: Layer, *, stem: bool) -> Layer:
    match layer:
        case Conv():
            kernel = 5 if stem else layer.kernel
            out = layer.out // CONV_SHRINK
            return replace(layer, out=out, kernel=kernel, stride=1, padding=kernel // 2, rule="floor")
        case Dense():
            return replace(layer, out=layer.out // DENSE_SHRINK)
        case Inception():
            one, three, five = (out // CONV_SHRINK for _, out in layer.branches())
            return replace(layer, one=one, three=three, five=five)
        case Pool():
            return replace(layer, padding=0, rule="ceil")
        case AdaptivePool(size=size) if size > 1:
            return replace(layer, size=MINI_MAP)
        case _:
            return layer


def _same_gain(full: LayerRow, small: LayerRow) -> Layer:
    layer = small.layer
    if not isinstance(layer, WITH_WEIGHTS) or layer.init.scheme != "normal":
        return layer
    ratio = _fan_in(full.layer, full.input) / _fan_in(layer, small.input)
    # a separable convolution has two factors with one std, and its gain is proportional to the std's
    # square
    power = 0.25 if isinstance(layer, Conv) and layer.separable != "no" else 0.5
    return replace(layer, init=replace(layer.init, std=layer.init.std * ratio**power))


def _fan_in(layer: Layer, shape: Shape) -> int:
    """Inputs of one unit; for a separable convolution the product over its two factors."""
    match layer:
        case Conv():
            return shape[0] // layer.groups * layer.kernel**2
        case Dense():
            return shape[0] * shape[1] * shape[2] // layer.groups
        case _:
            return shape[0]
