"""Helpers for the catalogue: functions that change several layers of a spec in the same way.

No torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from variants.layers import LRN, Conv, Dense, Inception, Init, Layer, Local
from variants.spec import AlexNetSpec

WITH_WEIGHTS = (Conv, Local, Dense, Inception)


def named(spec: AlexNetSpec, kind: type[Any] | tuple[type[Any], ...]) -> tuple[str, ...]:
    """Names of the layers of one kind, top to bottom."""
    return tuple(layer.name for layer in spec.layers if isinstance(layer, kind))


def each(spec: AlexNetSpec, names: tuple[str, ...], **fields: Any) -> AlexNetSpec:
    """The same edit on several layers."""
    return spec.but(**dict.fromkeys(names, fields))


def with_init(spec: AlexNetSpec, names: tuple[str, ...], **fields: Any) -> AlexNetSpec:
    """The same change of the initialisation on several layers: `with_init(PAPER, ("conv3",),
    std=0.03)`.
    """
    return spec.but(**{name: {"init": replace(_start(spec.layer(name)), **fields)} for name in names})


def _start(layer: Layer) -> Init:
    assert isinstance(layer, WITH_WEIGHTS)  # fails only for a mistake in the catalogue
    return layer.init


def ungroup(spec: AlexNetSpec) -> AlexNetSpec:
    """The net without groups: every kernel reads every map, and response normalisation works across
    all maps.
    """
    return each(spec, named(spec, (Conv, Dense, LRN)), groups=1)
