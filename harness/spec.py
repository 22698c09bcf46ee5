"""`RunSpec`: everything that can change the results of a run, and nothing else.

Its digest identifies the run.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from harness.serialization import digest, to_plain
from variants.columns import Layout
from variants.recipes.recipe import ADDED, Geometry, Recipe
from variants.spec import AlexNetSpec
from variants.values import value

# said only of files whose published MD5 sums were checked
CIFAR_10_ORIGINAL = "CIFAR-10, the original batches"
CIFAR_10_JPEG = "CIFAR-10, JPEG re-encoded"
DEFAULTS = {field.name: field.default for field in fields(Recipe) if field.name in ADDED}


@value
class DataSpec:
    """The images, by content instead of path. `listing` is the sha256 of the source's listing (names,
    labels, bytes).
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
    """One run: variant and recipe (by value), data, seed, device.

    layout: two_towers has the columns of the net on two devices (variants/modules/towers.py). Its
    scores are the same to the bit, but its gradients differ in the last bits, and it draws other
    dropout masks; so it is another run. Which two devices they are is a matter of placement. With two
    ranks each has one of them, and reads the whole batch.
    """

    variant: str
    geometry: Geometry
    net: AlexNetSpec
    recipe: Recipe
    data: DataSpec
    seed: int
    device: Literal["cpu", "cuda"] = "cpu"  # the two have different kernels, so the last bits differ
    # ranks that train together; if they divide the batch, their number changes dropout masks and the
    # last bits
    world_size: int = 1
    overrides: tuple[str, ...] = ()  # such as "lr=0.02": the changes by --set, for titles
    layout: Layout = "one_device"

    @property
    def devices(self) -> str:
        """What the run computes on, in words: "cpu", "cuda, 4 ranks", "cuda, two towers"."""
        ranks = f", {self.world_size} ranks" if self.world_size > 1 else ""
        return f"{self.device}{ranks}{', two towers' if self.layout == 'two_towers' else ''}"

    @property
    def digest(self) -> str:
        """sha256 over the contents of variant, recipe and all other fields; names and overrides are
        left out.
        """
        return digest(identity(to_plain(self)))


def identity(plain: dict[str, Any]) -> dict[str, Any]:
    """What the digest of spec.json covers: all but names and overrides, which may be absent in older
    ones.

    What was added later is left out at its default, so that older runs keep their digests: a layout on
    one device, and fields of recipes (variants.recipes.recipe.ADDED).
    """
    recipe = {
        name: held
        for name, held in plain["recipe"].items()
        if name not in ADDED or held != DEFAULTS[name]
    }
    kept = plain | {"variant": "", "recipe": recipe | {"name": ""}}
    if "overrides" in kept:
        kept["overrides"] = []
    if kept.get("layout") == "one_device":
        del kept["layout"]
    return kept
