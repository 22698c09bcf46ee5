"""AlexNet as the article describes it. ingredients.py has each of its mistaken ingredients as a variant
of its own.

The article leaves details open; they are numbered A1-A13. `readings` lists what we chose for each of
them. Each choice is a field of the spec or recipe, so it can be changed:
`CATALOG["article"].spec.but(conv1={"separable": "no"})`.
"""

from __future__ import annotations

from dataclasses import replace

from variants.catalog.row import Variant
from variants.layers import (
    LRN,
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Inception,
    Init,
    Layer,
    Pool,
)
from variants.spec import AlexNetSpec

_HE = Init(scheme="he_normal")


def _block(number: int, out: int, kernel: int, stride: int = 1) -> tuple[Layer, ...]:
    """Depthwise separable convolution, batch norm, ReLU."""
    conv = Conv(
        name=f"conv{number}",
        out=out,
        kernel=kernel,
        stride=stride,
        padding=kernel // 2 if stride == 1 else 0,
        separable="depthwise_first",
        use_bias=False,
        init=_HE,
    )
    return conv, BatchNorm(name=f"bn{number}"), Activation(name=f"relu{number}")


def _norm(name: str) -> LRN:
    return LRN(name=name, divide_by_size=True)


def _inception(name: str, one: int, three: int, five: int) -> Inception:
    return Inception(name=name, one=one, three=three, five=five, separable=True, init=_HE)


def _head(first: int) -> tuple[Layer, ...]:
    """Global average pooling, two hidden dense layers and the classifier, numbered from `first`."""
    hidden: list[Layer] = []
    for number in (first, first + 1):
        hidden += [
            Dense(name=f"fc{number}", out=4096, init=_HE),
            Dropout(name=f"drop{number}"),
            Activation(name=f"relu{number}"),
        ]
    return (AdaptivePool(name="gap", size=1), *hidden, Dense(name=f"fc{first + 2}", out=1000, init=_HE))


ARTICLE = AlexNetSpec(
    input_size=227,
    layers=(
        *_block(1, 96, 11, stride=4),
        Pool(name="pool1", size=2, rule="floor"),
        _norm("norm1"),
        *_block(2, 256, 5),
        _inception("inception2", 64, 128, 64),
        Pool(name="pool2"),
        *_block(3, 384, 3),
        _inception("inception3", 96, 192, 96),
        *_block(4, 384, 3),
        *_block(5, 256, 3),
        *_head(6),
    ),
    box=Dense(name="box", out=4, init=_HE),
)

SECTION_4 = replace(
    ARTICLE,
    layers=(
        *_block(1, 96, 11, stride=4),
        Pool(name="pool1", size=2, rule="floor"),
        *_block(2, 256, 5),
        _norm("norm2"),
        Pool(name="pool2"),
        *_block(3, 384, 3),
        *_block(4, 384, 3),
        _norm("norm4"),
        *_block(5, 256, 3),
        *_block(6, 384, 3),
        *_block(7, 384, 3),
        *_block(8, 256, 3),
        *_head(9),
    ),
)

BOX = (("loss.box_weight", 1.0),)

ARTICLE_ROWS = (
    Variant(
        name="article",
        family="article",
        meaning="AlexNet as the article describes it: separable, batch norm, inception, averaging, two "
        "heads",
        source="the article, sec. 2-4 (claims 5-65)",
        expects="training converges thanks to batch norm and clipping, although the learning rate is "
        "8.8 times the paper's",
        spec=ARTICLE,
        recipe="article",
        recipe_changes=BOX,
        readings=(
            "A1 rotation by at most 15 degrees, A2 scale from half to the full side: the article gives "
            "neither",
            "A3 depthwise before pointwise (sec. 2.1); sec. 3.1 describes the opposite order (field "
            "separable)",
            "A4 conv1 and the inception branches are separable, too, since the article says 'every "
            "convolution'",
            "A5 'pooling layers are depthwise separable' changes nothing: max pooling works on each "
            "map separately anyway",
            "A6 response norm follows pool1; sec. 4.1.1.1 puts it after conv2 (see article_section4)",
            "A7 inception branches of 64-128-64 and 96-192-96 maps: the article gives no widths, so "
            "the layers' widths are kept",
            "A8 no residual connection: the article does not say where one would be (residual_conv4 "
            "has one)",
            "A9 two hidden dense layers (sec. 4.1.1.4); other sections say one or three",
            "A10 smooth L1 on the box with weight 1: loss.box_weight",
            "A11 momentum .9, A12 clip norm 1, A13 smoothing spread uniformly (loss.reading selects "
            "two other interpretations)",
        ),
    ),
    Variant(
        name="article_section4",
        family="article",
        meaning="section 4 of the article, literally: eight convolutions, response norms after the "
        "second and fourth",
        source="the article, sec. 4 (claims 61-65)",
        expects="unknown: nothing is published about this net, which is deeper than any AlexNet",
        spec=SECTION_4,
        recipe="article",
        recipe_changes=BOX,
        readings=(
            "the third block repeats 384, 384, 256 kernels; pools follow conv1 and conv2, and the "
            "second one overlaps",
            "A1-A4 and A9-A13 as for article; no inception",
        ),
    ),
)
