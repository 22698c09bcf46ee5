"""Every row of the catalogue as a timm model: import this, then `timm.create_model("alexnet_grouped_2gpu")`.

A variant is a name and never a set of keywords, since timm drops every keyword that is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from timm.models import register_model

from variants.alexnet import AlexNet, build
from variants.catalog import CATALOG
from variants.spec import AlexNetSpec


def _entry_point(name: str, spec: AlexNetSpec) -> Callable[..., AlexNet]:
    """The function that timm calls for a row. timm files it under its __name__, in the module of its __module__."""

    def make(
        pretrained: bool = False, num_classes: int | None = None, in_chans: int | None = None, **others: Any
    ) -> AlexNet:
        if pretrained:
            raise ValueError(f"{name} comes without weights; use pretrained=False and variants.weights.load_weights")
        foreign = [key for key, given in others.items() if given is not None]
        if foreign:
            raise TypeError(f"{name} knows num_classes and in_chans, not {', '.join(foreign)}; a variant is a name")
        return build(
            replace(spec.with_classes(num_classes or spec.classes), input_channels=in_chans or spec.input_channels)
        )

    make.__name__ = make.__qualname__ = name
    make.__module__ = __name__
    return make


for _row in CATALOG.values():
    register_model(_entry_point(f"alexnet_{_row.name}", _row.spec))
