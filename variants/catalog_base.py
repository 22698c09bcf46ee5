"""A catalogue row as a value, and the net that every row is compared with. No torch.

`PAPER` is Krizhevsky, Sutskever and Hinton (NIPS 2012), section 3.5, layer by layer; a delta row is `PAPER` with edits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

from variants.layers import LRN, Activation, Conv, Dense, Dropout, Inception, Init, Layer, Local, Pool
from variants.recipe import Geometry
from variants.spec import AlexNetSpec
from variants.values import value

Family: TypeAlias = Literal["paper", "code_2012", "derivative", "cifar", "article"]
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

WITH_WEIGHTS = (Conv, Local, Dense, Inception)


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


def _norm(name: str) -> LRN:
    return LRN(name=name, size=5, alpha=1e-4, beta=0.75, k=2.0, divide_by_size=False, groups=2)


def _relu(name: str) -> Activation:
    return Activation(name=name)


_BIAS_1 = Init(bias=1.0)

PAPER = AlexNetSpec(
    input_size=224,
    layers=(
        Conv(name="conv1", out=96, kernel=11, stride=4, rule="ceil"),  # 224 -> 55: the last window hangs over by 3
        _relu("relu1"),
        _norm("norm1"),
        Pool(name="pool1"),
        Conv(name="conv2", out=256, kernel=5, padding=2, groups=2, init=_BIAS_1),
        _relu("relu2"),
        _norm("norm2"),
        Pool(name="pool2"),
        Conv(name="conv3", out=384, kernel=3, padding=1),  # the one convolution that reads both columns
        _relu("relu3"),
        Conv(name="conv4", out=384, kernel=3, padding=1, groups=2, init=_BIAS_1),
        _relu("relu4"),
        Conv(name="conv5", out=256, kernel=3, padding=1, groups=2, init=_BIAS_1),
        _relu("relu5"),
        Pool(name="pool5"),
        Dense(name="fc6", out=4096, init=_BIAS_1),
        _relu("relu6"),
        Dropout(name="drop6"),
        Dense(name="fc7", out=4096, init=_BIAS_1),
        _relu("relu7"),
        Dropout(name="drop7"),
        Dense(name="fc8", out=1000),
    ),
)


def named(spec: AlexNetSpec, kind: type[Any] | tuple[type[Any], ...]) -> tuple[str, ...]:
    """Names of the layers of one kind, top to bottom."""
    return tuple(layer.name for layer in spec.layers if isinstance(layer, kind))


def each(spec: AlexNetSpec, names: tuple[str, ...], **fields: Any) -> AlexNetSpec:
    """The same edit on several layers."""
    return spec.but(**dict.fromkeys(names, fields))


def with_init(spec: AlexNetSpec, names: tuple[str, ...], **fields: Any) -> AlexNetSpec:
    """The same change of the start values on several layers: `with_init(PAPER, ("conv3",), std=0.03)`."""
    return spec.but(**{name: {"init": replace(_start(spec.layer(name)), **fields)} for name in names})


def _start(layer: Layer) -> Init:
    assert isinstance(layer, WITH_WEIGHTS)  # the catalogue's own mistake, not a user's
    return layer.init


def ungroup(spec: AlexNetSpec) -> AlexNetSpec:
    """Every kernel reads every map, and response normalisation sees all of them."""
    return each(spec, named(spec, (Conv, Dense, LRN)), groups=1)


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
