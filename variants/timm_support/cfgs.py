"""timm's pretrained_cfg for each row: input size, normalisation, and the names of the first layer and
classifier.

A row has no pretrained weights, so it has no URL, tag or licence. The normalisation follows from the
row's recipe:

* Most recipes use 0-255 minus the training set's mean image. timm divides by 255, subtracts one mean
  per channel and divides by one standard deviation per channel. mean = channel means and std = 1/255
  give 0-255 minus the channel means. This has the right scale, but subtracts the mean colour instead of
  the mean image.
* Recipes with raw pixels have mean = 0, std = 1/255; torchvision's recipe has its own constants.

An image is resized bilinearly so that its short side is the recipe's store_size, and then
centre-cropped.
"""

from __future__ import annotations

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from variants.catalog import native_recipe
from variants.catalog.row import Variant
from variants.layers import AdaptivePool, Conv, Local
from variants.recipes.recipe import Pixels
from variants.spec import AlexNetSpec
from variants.timm_support.parts import last_map

Channels = tuple[float, float, float]

# As fractions of 255. timm and torchvision state both for ILSVRC-2012's training images.
IMAGENET: tuple[Channels, Channels] = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
# CIFAR-10's 50,000 training images: github.com/kuangliu/pytorch-cifar main.py has this mean; a copy of
# the data that was re-encoded as JPEG has .4913, .4821, .4465. No recipe divides by a deviation of
# CIFAR-10's.
CIFAR10: tuple[Channels, None] = ((0.4914, 0.4822, 0.4465), None)


def default_cfg(row: Variant) -> dict[str, Any]:
    """The fields of timm's PretrainedCfg for the row's net at its own size."""
    recipe = native_recipe(row)
    mean, std = normalisation(recipe.pixels, *(CIFAR10 if "cifar" in row.geometries else IMAGENET))
    spec = row.spec
    return {
        "input_size": (spec.input_channels, spec.input_size, spec.input_size),
        "fixed_input_size": has_fixed_size(spec),
        "pool_size": last_map(spec)[1:],
        "num_classes": spec.classes,
        "mean": mean,
        "std": std,
        "interpolation": "bilinear",
        "crop_pct": spec.input_size / recipe.store_size,
        "crop_mode": "center",
        "first_conv": _first_convolution(spec),
        "classifier": spec.layers[-1].name,
        "description": row.meaning,
        "notes": (row.source,),
    }


def normalisation(pixels: Pixels, mean: Channels, std: Channels | None) -> tuple[Channels, Channels]:
    """timm's (mean, std), as fractions of 255, for a recipe's input; the arguments are of the
    training set.
    """
    if isinstance(pixels.mean, tuple):
        mean = _share(pixels.mean)
    elif pixels.mean == "none":
        mean = (0.0, 0.0, 0.0)
    if isinstance(pixels.divide_by_std, tuple):
        return mean, _share(pixels.divide_by_std)
    if pixels.divide_by_std:
        assert std is not None  # fails only for a mistake in the catalogue
        return mean, std
    return mean, (1 / 255, 1 / 255, 1 / 255)


def _share(grey_levels: Channels) -> Channels:
    """As fractions of 255, rounded, since .485 * 255 / 255 is not exactly .485."""
    red, green, blue = (round(level / 255, 9) for level in grey_levels)
    return red, green, blue


def has_fixed_size(spec: AlexNetSpec) -> bool:
    """Whether the layers fit one input size only.

    They fit other sizes if adaptive pooling precedes the dense layers, no layer is locally connected,
    and no convolution has extra padding by the "ceil" rule.
    """
    adaptive = any(isinstance(layer, AdaptivePool) for layer in spec.layers)
    bound = any(
        isinstance(layer, Local) or (isinstance(layer, Conv) and layer.rule == "ceil")
        for layer in spec.layers
    )
    return bound or not adaptive


def _first_convolution(spec: AlexNetSpec) -> str:
    conv = next(layer for layer in spec.layers if isinstance(layer, Conv))
    first_factor = {"no": "", "depthwise_first": ".depthwise", "pointwise_first": ".pointwise"}
    return conv.name + first_factor[conv.separable]
