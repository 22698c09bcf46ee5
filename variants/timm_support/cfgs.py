"""What timm wants to know of a row before it builds the net: input, pixels, and the names of two layers.

A row has no weights, so there is no address, tag, licence or origin of any. Pixels follow from the row's recipe:

* Most recipes feed 0-255 minus the training set's mean image. timm divides by 255, subtracts one mean a channel and
  divides by one standard deviation a channel. mean = channel means, std = 1/255 gives 0-255 minus the channel means:
  the right scale, and the mean image only up to its differences from place to place.
* Recipes that feed raw pixels have mean = 0, std = 1/255; torchvision's has its own constants.

A picture is resized bilinearly so that its short side is the recipe's store_size, and the centre is cut out.
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

# As shares of 255. timm and torchvision state both for ILSVRC-2012's training images.
IMAGENET: tuple[Channels, Channels] = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
# CIFAR-10's 50,000 training images: github.com/kuangliu/pytorch-cifar main.py has this mean; a copy of the data that
# was re-encoded as JPEG has .4913, .4821, .4465. No recipe divides by a deviation of CIFAR-10's.
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
    """timm's (mean, std), as shares of 255, for what a recipe feeds; the arguments are the training set's own."""
    if isinstance(pixels.mean, tuple):
        mean = _share(pixels.mean)
    elif pixels.mean == "none":
        mean = (0.0, 0.0, 0.0)
    if isinstance(pixels.divide_by_std, tuple):
        return mean, _share(pixels.divide_by_std)
    if pixels.divide_by_std:
        assert std is not None  # a row's own mistake: its data has no deviation here
        return mean, std
    return mean, (1 / 255, 1 / 255, 1 / 255)


def _share(grey_levels: Channels) -> Channels:
    """Of 255; rounded, since .485 * 255 / 255 is not .485 to the last bit."""
    red, green, blue = (round(level / 255, 9) for level in grey_levels)
    return red, green, blue


def has_fixed_size(spec: AlexNetSpec) -> bool:
    """Whether the layers' shapes hold for one input size only.

    They hold for others where an adaptive pooling feeds the dense layers, no layer has weights for each position and
    no convolution is padded for its size by the "ceil" rule.
    """
    adaptive = any(isinstance(layer, AdaptivePool) for layer in spec.layers)
    bound = any(isinstance(layer, Local) or (isinstance(layer, Conv) and layer.rule == "ceil") for layer in spec.layers)
    return bound or not adaptive


def _first_convolution(spec: AlexNetSpec) -> str:
    conv = next(layer for layer in spec.layers if isinstance(layer, Conv))
    first_factor = {"no": "", "depthwise_first": ".depthwise", "pointwise_first": ".pointwise"}
    return conv.name + first_factor[conv.separable]
