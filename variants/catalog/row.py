"""`Variant`: one row of the catalogue, with name, network, recipe, sources and published measurements.

No torch.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from variants.recipes.recipe import Geometry
from variants.spec import AlexNetSpec
from variants.values import value

Family: TypeAlias = Literal["paper", "code_2012", "derivative", "cifar", "article", "own"]
Changes: TypeAlias = tuple[tuple[str, Any], ...]

CITATIONS = {
    "P": "Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural "
    "Networks, NIPS 2012",
    "S": "the 2012 source code, github.com/computerhistory/AlexNet-Source-Code @ 2f8b81f (layers/, "
    "with logs of runs)",
    "K1": "cuda-convnet, github.com/dnouri/cuda-convnet @ e4ac0c1",
    "K2": "cuda-convnet2, github.com/akrizhevsky/cuda-convnet2 @ 3238bf0",
    "CF": "Caffe, github.com/BVLC/caffe @ 9b89154 (forks of it carry altered biases)",
    "CB": "github.com/ducha-aiki/caffenet-benchmark @ e47c4ff",
    "ZF": "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
}


@value
class Variant:
    """One row: a name, a network and a recipe that differ from a base, the claim that it tests, and the
    source.

    spec: the net at full size (CIFAR nets: at their only size). geometries: the sizes it exists in (see
    geometry.py).
    recipe: name of the recipe it was published with (variants/recipes). recipe_changes: (dotted field,
    value) pairs that this row changes in every recipe.
    published: ids of the measurements that it is compared with; `list` shows the first. Their numbers
    are in harness/published/data and nowhere else.
    readings: our choices where the sources leave something open, one sentence each.
    """

    name: str
    family: Family
    meaning: str
    source: str
    expects: str
    spec: AlexNetSpec
    geometries: tuple[Geometry, ...] = ("full", "mini")
    recipe: str = "paper"
    recipe_changes: Changes = ()
    published: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
