"""`RunSpec`: everything that can change the results of a run, and nothing else. Its digest identifies the run."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from harness.serialization import digest, to_plain
from variants.recipes.recipe import ADDED, Geometry, Recipe
from variants.spec import AlexNetSpec
from variants.values import value

CIFAR_10_ORIGINAL = "CIFAR-10, the original batches"  # said only of files whose published MD5 sums were checked
CIFAR_10_JPEG = "CIFAR-10, JPEG re-encoded"
DEFAULTS = {field.name: field.default for field in fields(Recipe) if field.name in ADDED}


@value
class DataSpec:
    """The images, by content instead of path. `listing` is the sha256 of the source's listing (names, labels,
    bytes).
    """

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

    def images(self, split: Literal["train", "val"]) -> int:
        """How many images the split has."""
        return self.train_images if split == "train" else self.val_images


@value
class RunSpec:
    """One run: variant and recipe (by value), data, seed, device."""

    variant: str
    geometry: Geometry
    net: AlexNetSpec
    recipe: Recipe
    data: DataSpec
    seed: int
    device: Literal["cpu", "cuda"] = "cpu"  # the two have different kernels, so the last bits differ
    world_size: int = 1
    overrides: tuple[str, ...] = ()  # such as "lr=0.02": the changes by --set, for titles

    @property
    def digest(self) -> str:
        """sha256 over the contents of variant, recipe and all other fields; names and overrides are left out."""
        return digest(identity(to_plain(self)))


def identity(spec: dict[str, Any]) -> dict[str, Any]:
    """What a digest is made of: the plain RunSpec without names and overrides.

    Fields of recipes that were added later are left out at their default (variants.recipes.recipe.ADDED).
    """
    kept = {name: held for name, held in spec["recipe"].items() if name not in ADDED or held != DEFAULTS[name]}
    overrides: dict[str, Any] = {"overrides": []} if "overrides" in spec else {}
    return spec | overrides | {"variant": "", "recipe": kept | {"name": ""}}
