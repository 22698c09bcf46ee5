"""A run as a value: all that can change a number, resolved, and nothing else. Its digest is its identity."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from harness.serialization import digest
from variants.recipes.recipe import Geometry, Recipe
from variants.spec import AlexNetSpec
from variants.values import value

CIFAR_10_ORIGINAL = "CIFAR-10, the original batches"  # said only of files whose published MD5 sums were checked


@value
class DataSpec:
    """Which images, by content: no path. `listing` is the sha256 of the source's listing (names, labels, bytes)."""

    name: str
    listing: str
    classes: int
    train_images: int
    val_images: int
    store_size: int  # side in pixels of the stored square
    store_format: Literal["raw", "jpeg"] = "raw"
    jpeg_quality: int | None = None  # null for raw
    boxes: bool = False
    contents: str = ""  # what the images are, where the name leaves it open, such as CIFAR_10_ORIGINAL


@value
class RunSpec:
    """One run: variant (by value), recipe (by value), data, seed, where it computes."""

    variant: str
    geometry: Geometry
    net: AlexNetSpec
    recipe: Recipe
    data: DataSpec
    seed: int
    device: Literal["cpu", "cuda"] = "cpu"  # kernels differ between the two, and so do the last bits
    world_size: int = 1
    overrides: tuple[str, ...] = ()  # such as "lr=0.02": what --set changed in the named recipe, for titles

    @property
    def digest(self) -> str:
        """sha256 over the resolved values; names of variant, recipe and overrides don't count, contents do."""
        return digest(replace(self, variant="", overrides=(), recipe=replace(self.recipe, name="")))
