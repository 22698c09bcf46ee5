"""How timm's interface divides a spec's net: features and head, feature_info, parameter groups. No
torch.

The head consists of the dense layers and the dropout and adaptive pooling before them; the rest are
features.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from variants.layers import AdaptivePool, Conv, Dense, Dropout, Inception, Layer, Local, Shape
from variants.spec import AlexNetSpec

WITH_MAPS = (Conv, Local, Inception)  # layers with weights before the dense ones


def head_start(layers: tuple[Layer, ...]) -> int:
    """Position of the head's first layer: the first dense one, or the dropout and adaptive pooling
    just before it.
    """
    at = next(at for at, layer in enumerate(layers) if isinstance(layer, Dense))
    while at and isinstance(layers[at - 1], AdaptivePool | Dropout):
        at -= 1
    return at


def last_map(spec: AlexNetSpec) -> Shape:
    """Shape of the head's input."""
    return spec.rows[head_start(spec.layers) - 1].output


def feature_info(spec: AlexNetSpec) -> list[dict[str, Any]]:
    """timm's feature_info: the last layer of each map size, without the head.

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
    """Positions of the layers before the head, in parts that begin with a layer with weights or
    after a listed map.
    """
    head = head_start(spec.layers)
    starts = [at for at, layer in enumerate(spec.layers[:head]) if isinstance(layer, WITH_MAPS)][1:]
    ends = sorted({0, *starts, *(info["at"] + 1 for info in feature_info(spec)), head})
    return [range(low, high) for low, high in pairwise(ends)]


def layer_groups(spec: AlexNetSpec, coarse: bool) -> dict[str, int]:
    """The number of each layer's group.

    A layer without weights is in the group of the layer before it.
    """
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
    """Whether other input channels change only the depth of the first layer's kernels."""
    return isinstance(first, Conv) and first.separable == "no"
