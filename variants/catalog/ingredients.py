"""Variants that add one mistaken ingredient of the article to the paper's net, to measure its effect.

The ambiguities A1-A13 are numbered as in article.py, the claims as in `python -m harness article`.
"""

from __future__ import annotations

from math import sqrt

from variants.catalog.edits import WITH_WEIGHTS, each, named, with_init
from variants.catalog.paper import PAPER
from variants.catalog.row import Changes, Variant
from variants.layers import AdaptivePool, BatchNorm, Conv, Inception, SpatialLRN
from variants.recipes.recipe import EverySteps
from variants.spec import AlexNetSpec

_CONVS = named(PAPER, Conv)


def _batch_norm() -> AlexNetSpec:
    net = PAPER
    for name in _CONVS:
        net = net.after(name, BatchNorm(name=f"bn{name[-1]}"))
    return net


def _separable() -> AlexNetSpec:
    # std .1 in both factors, so that their product has the paper's std of .01
    return with_init(each(PAPER, _CONVS, groups=1, separable="depthwise_first"), _CONVS, std=0.1)


def _one(
    name: str,
    meaning: str,
    claim: str,
    expects: str,
    spec: AlexNetSpec = PAPER,
    *,
    changes: Changes = (),
    published: tuple[str, ...] = (),
    readings: tuple[str, ...] = (),
) -> Variant:
    """The paper's net with one ingredient of the article."""
    return Variant(
        name=name,
        family="article",
        meaning=meaning,
        source=f"the article, {claim}",
        expects=expects,
        spec=spec,
        recipe_changes=changes,
        published=published,
        readings=readings,
    )


INGREDIENT_ROWS = (
    _one(
        "depthwise_separable",
        "every convolution factorised into one kernel per map and a 1x1 convolution",
        "claims 10-12, 47-49",
        "at most a fifth of the multiply-accumulates, and higher error",
        _separable(),
        readings=(
            "no columns: groups and separable convolutions are two ways to remove the same connections",
        ),
    ),
    _one(
        "batch_norm",
        "batch norm between every convolution and its ReLU",
        "claims 14, 53, 54",
        "slightly lower error, and still lower if it follows the ReLU (CB batchnorm)",
        _batch_norm(),
        published=("caffenet128.batch_norm.before_affine",),
        readings=(
            "response norms stay; the convolutions' biases stay, although batch norm subtracts them",
        ),
    ),
    _one(
        "inception_after_conv2_conv3",
        "an inception block after conv2 and after conv3, with as many maps as before",
        "claims 17, 42, 43, 58",
        "more computation; the blocks connect the columns",
        PAPER.after(
            "relu2", Inception(name="inception2", one=64, three=128, five=64, batch_norm=False)
        ).after("relu3", Inception(name="inception3", one=96, three=192, five=96, batch_norm=False)),
        readings=(
            "A7 widths as in article; ordinary convolutions with biases, since batch norm is another "
            "ingredient",
        ),
    ),
    _one(
        "global_average_pool",
        "global average pooling between pool5 and fc6",
        "claim 18",
        "36 times fewer inputs to fc6, and the position of objects is lost",
        PAPER.after("pool5", AdaptivePool(name="gap", size=1)),
    ),
    _one(
        "residual_conv4",
        "a residual connection around conv4",
        "claim 8",
        "little effect from one residual connection in a net of eight layers",
        PAPER.but(conv4={"residual": True}),
        readings=(
            "A8 only conv4 has equal input and output shapes; the input is added before the ReLU",
        ),
    ),
    _one(
        "second_pool_overlaps_only",
        "pool1 and pool5 of 2x2, pool2 of 3x3, all with stride 2",
        "claim 59",
        "an error between those of grouped_2gpu and non_overlapping_pool",
        each(PAPER, ("pool1", "pool5"), size=2, rule="floor"),
    ),
    _one(
        "dropout_before_relu",
        "dropout before the ReLU of fc6 and fc7",
        "claim 38",
        "no difference: relu(mask * x) = mask * relu(x) for a mask without negative values",
        PAPER.move("drop6", after="fc6").move("drop7", after="fc7"),
    ),
    _one(
        "lrn_after_pool",
        "the first response norm follows the first pool",
        "claim 41",
        "slightly higher error",
        PAPER.move("norm1", after="pool1"),
        published=("run_120",),
        readings=(
            "the second norm stays before pool2, as the claim allows; in caffenet both follow their "
            "pools",
        ),
    ),
    _one(
        "spatial_lrn",
        "response norms within each map (5x5 neighbours) instead of across maps",
        "claims 40, 56, 57",
        "unknown; the 2012 code had one such norm besides the others, and removing it did not increase "
        "the error (code_2012_norm1_only)",
        PAPER.without("norm1", "norm2")
        .after("relu1", SpatialLRN(name="norm1"))
        .after("relu2", SpatialLRN(name="norm2")),
        readings=(
            "constants of the 2012 code's norm within maps: 1e-3 over 25 pixels, power .75, k = 1",
        ),
    ),
    _one(
        "he_init",
        "He initialisation of the weights in every layer",
        "claim 27",
        "a first loss far above ln(classes): He initialisation keeps the scale of raw pixels up to the "
        "logits",
        with_init(PAPER, named(PAPER, WITH_WEIGHTS), scheme="he_normal"),
        readings=("biases keep the paper's initial values, although He et al. (2015) start them at 0",),
    ),
    _one(
        "gradient_clipping",
        "recipe: gradients clipped to a norm of 1",
        "claim 28",
        "slower training wherever the gradients' norm is above 1",
        changes=(("clip_norm", 1.0),),
        readings=("A12 the article gives no threshold; 1 is common",),
    ),
    _one(
        "label_smoothing",
        "recipe: label smoothing of .1",
        "claims 9, 55",
        "higher training loss; the effect on the error is unknown",
        changes=(("loss.smoothing", 0.1),),
        readings=(
            "A13 a tenth is spread over all classes; loss.reading selects two more literal "
            "interpretations",
        ),
    ),
    _one(
        "nesterov",
        "recipe: Nesterov momentum",
        "claim 33",
        "hardly any difference",
        changes=(("nesterov", True),),
        published=("caffenet128.nesterov",),
    ),
    _one(
        "inverse_sqrt_rate",
        "recipe: an initial learning rate of 1/sqrt(128) = .088",
        "claim 34",
        "divergence without batch norm",
        changes=(("lr", 1.0 / sqrt(128)),),
        readings=("the batch size in the formula is the paper's 128 under every recipe",),
    ),
    _one(
        "step_100k",
        "recipe: the learning rate is divided by 10 every 100,000 updates",
        "claim 35",
        "at batch size 128 a drop every 10 epochs, nine in 90 epochs: the later epochs learn nearly "
        "nothing",
        changes=(("schedule", EverySteps(steps=100_000)),),
        readings=("a short run ends before the first drop",),
    ),
    _one(
        "rotate_scale_crop",
        "recipe: rotation, scaling and crops instead of flips and colour noise",
        "claims 22-25",
        "higher error, as CB reports for rotations by 5 degrees and for several scales",
        changes=(
            ("augmentation.rotate_degrees", 15.0),
            ("augmentation.scale", (0.5, 1.0)),
            ("augmentation.mirror", False),
            ("augmentation.colour_std", 0.0),
        ),
        readings=(
            "A1 rotation by at most 15 degrees, A2 scale from half to the full side: the article gives "
            "neither",
        ),
    ),
)
