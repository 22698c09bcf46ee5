"""The same net at another size: `mini` keeps every design choice of a full-size spec on 32-pixel images. No torch.

Sizes exist so that a delta can be tried on a small machine. What is learnt there is about the delta's direction,
not about ImageNet.
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
    """The row's net in one geometry, for that many classes; None is the row's own number, and 10 at mini size.

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

    The stem becomes 5x5 with stride 1; every convolution keeps its map's size, so pools alone shrink it (32, 16, 8, 4
    for three pools of stride 2). Groups, norms, window and stride of pools, dropout, order and number of layers stay.
    The std of a normal start is scaled by sqrt(fan-in at full size / fan-in here), so each layer's gain at the start
    is the full-size net's; biases keep their values, since activations keep their scale.
    """
    stem = next(layer.name for layer in spec.layers if isinstance(layer, Conv))
    layers = tuple(_shrink(layer, stem=layer.name == stem) for layer in spec.layers)
    mini = replace(spec, input_size=MINI_INPUT, layers=layers).with_classes(classes)
    pairs = zip(spec.rows, mini.rows, strict=True)  # the box head, where there is one, is the last row
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
    # a separable convolution has two factors with one std, and its gain goes with the square of it
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
