"""Where timm's interface cuts a spec's net: maps and head, the maps to be had, groups of parameters. No torch.

The head is the dense layers, with the dropout and the adaptive pooling that feed them; all before it gives maps.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from variants.layers import AdaptivePool, Conv, Dense, Dropout, Inception, Layer, Local, Shape
from variants.spec import AlexNetSpec

WITH_MAPS = (Conv, Local, Inception)  # layers with weights before the dense ones


def head_start(layers: tuple[Layer, ...]) -> int:
    """Position of the head's first layer: the first dense one, or the dropout and adaptive pooling just before it."""
    at = next(at for at, layer in enumerate(layers) if isinstance(layer, Dense))
    while at and isinstance(layers[at - 1], AdaptivePool | Dropout):
        at -= 1
    return at


def last_map(spec: AlexNetSpec) -> Shape:
    """Shape of what the head reads."""
    return spec.rows[head_start(spec.layers) - 1].output


def feature_info(spec: AlexNetSpec) -> list[dict[str, Any]]:
    """timm's description of the maps to be had: the last layer at each size of map, the head excluded.

    num_chs: channels. reduction: product of the strides so far. module: the layer. at: its position.
    """
    found, reduction, head = [], 1, head_start(spec.layers)
    for at, layer in enumerate(spec.layers[:head]):
        reduction *= getattr(layer, "stride", 1)
        shrinks_next = at + 1 == head or getattr(spec.layers[at + 1], "stride", 1) > 1
        started = any(isinstance(earlier, Conv | Local) for earlier in spec.layers[: at + 1])
        if shrinks_next and started:
            channels = spec.rows[at].output[0]
            found.append({"num_chs": channels, "reduction": reduction, "module": layer.name, "at": at})
    return found


def parts(spec: AlexNetSpec) -> list[range]:
    """Positions of the layers before the head; each part begins with a layer with weights, or after a listed map."""
    head = head_start(spec.layers)
    starts = [at for at, layer in enumerate(spec.layers[:head]) if isinstance(layer, WITH_MAPS)][1:]
    ends = sorted({0, *starts, *(info["at"] + 1 for info in feature_info(spec)), head})
    return [range(low, high) for low, high in pairwise(ends)]


def layer_groups(spec: AlexNetSpec, coarse: bool) -> dict[str, int]:
    """A group's number for each layer; those without weights go with the layer before them."""
    starts = [at for at, layer in enumerate(spec.layers) if isinstance(layer, (*WITH_MAPS, Dense))][1:]
    if coarse:
        dense = [at for at, layer in enumerate(spec.layers) if isinstance(layer, Dense)]
        starts = [*(info["at"] + 1 for info in feature_info(spec)), dense[0], dense[-1]]
    groups = {layer.name: sum(start <= at for start in starts) for at, layer in enumerate(spec.layers)}
    if spec.box is not None:
        groups[spec.box.name] = len(starts)
    return groups


def averages(layers: tuple[Layer, ...]) -> bool:
    """Whether the net averages over each map before its dense layers."""
    return any(isinstance(layer, AdaptivePool) and layer.size == 1 for layer in layers)


def weights_fit_any_channels(first: Layer) -> bool:
    """Whether more input channels only make each kernel of the first layer deeper."""
    return isinstance(first, Conv) and first.separable == "no"
