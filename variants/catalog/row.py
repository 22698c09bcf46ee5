"""A row of the catalogue as a value: a variant's name, network, recipe, published numbers and sources. No torch."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from variants.recipes.recipe import Geometry
from variants.spec import AlexNetSpec
from variants.values import value

Family: TypeAlias = Literal["paper", "code_2012", "derivative", "cifar", "article", "own"]
Protocol: TypeAlias = Literal["centre", "ten_view", "nine_view"]
Bound: TypeAlias = Literal["equals", "more_than", "less_than"]
Changes: TypeAlias = tuple[tuple[str, Any], ...]

CITATIONS = {
    "P": "Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012",
    "S": "the 2012 source code, github.com/computerhistory/AlexNet-Source-Code @ 2f8b81f (layers/, with logs of runs)",
    "K1": "cuda-convnet, github.com/dnouri/cuda-convnet @ e4ac0c1",
    "K2": "cuda-convnet2, github.com/akrizhevsky/cuda-convnet2 @ 3238bf0",
    "CF": "Caffe, github.com/BVLC/caffe @ 9b89154 (forks of it carry altered biases)",
    "CB": "github.com/ducha-aiki/caffenet-benchmark @ e47c4ff",
    "ZF": "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, arXiv 1311.2901",
}


@value
class Effect:
    """What a row's delta did where it was measured: error of the row minus error of `versus`, in percentage points.

    versus: the row that stands for the base. Where the source changed another net, `note` names it, and `data` and
    `protocol` say what such a number may be compared with.
    protocol: None where the source leaves it open.
    bound: "more_than" where the source says that the difference lies above these points ("over 1 point"), "less_than"
    where below.
    """

    top1_points: float | None
    top5_points: float | None
    versus: str
    data: str
    protocol: Protocol | None
    source: str
    note: str = ""
    bound: Bound = "equals"


@value
class Score:
    """The published error of a row itself, in percent. Kept where a row is a base rather than a difference."""

    top1_percent: float
    top5_percent: float | None
    data: str
    protocol: Protocol | None
    source: str


@value
class Variant:
    """One row: a name, a network and recipe that differ from a base, the claim it tests, where that is written.

    spec: the net at full size (CIFAR nets: at their own). geometries: the sizes it exists in (see geometry.py).
    recipe: name of the native recipe (recipes.py); recipe_changes: (dotted field, value) pairs on top of any recipe.
    readings: what the sources leave open and what was chosen.
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
    effect: Effect | None = None
    score: Score | None = None
    readings: tuple[str, ...] = ()


def at_128_pixels(top1: float, source: str) -> Effect:
    """A single run of caffenet-benchmark on 128-pixel images, against its baseline net."""
    return Effect(
        top1_points=top1,
        top5_points=None,
        versus="grouped_2gpu",
        data="ILSVRC-2012 val at 128 pixels",
        protocol="centre",
        source=source,
        note="one run; the base is caffenet128 (dense layers of 2048, LSUV start, no response norm)",
    )
