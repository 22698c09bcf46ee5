"""Each mistaken ingredient of the article alone on the paper's net: what if the article were right?

Ambiguities are numbered as in article.py (A1-A13), claims as `python -m harness article` lists them.
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
    # .1 in each factor, so that their product starts with the paper's .01
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
    """One ingredient of the article on the paper's net."""
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
        "every convolution factorised into a kernel per map and a 1x1 convolution",
        "claims 10-12, 47-49",
        "a fifth of the multiply-accumulates or less, and higher error",
        _separable(),
        readings=("columns vanish: grouping and separating are two ways to cut the same connections",),
    ),
    _one(
        "batch_norm",
        "batch norm between every convolution and its ReLU",
        "claims 14, 53, 54",
        "somewhat lower error; lower still where it follows the ReLU (CB batchnorm)",
        _batch_norm(),
        published=("caffenet128.batch_norm.before_affine",),
        readings=("response norms stay; the convolutions' biases stay, though batch norm subtracts them",),
    ),
    _one(
        "inception_after_conv2_conv3",
        "an inception block after conv2 and after conv3, widths kept",
        "claims 17, 42, 43, 58",
        "more computation; the blocks mix the columns",
        PAPER.after("relu2", Inception(name="inception2", one=64, three=128, five=64, batch_norm=False)).after(
            "relu3", Inception(name="inception3", one=96, three=192, five=96, batch_norm=False)
        ),
        readings=("A7 widths as in article; dense branches with biases, since batch norm is another ingredient",),
    ),
    _one(
        "global_average_pool",
        "global average pooling between pool5 and fc6",
        "claim 18",
        "36 times fewer inputs to fc6; where things are is lost",
        PAPER.after("pool5", AdaptivePool(name="gap", size=1)),
    ),
    _one(
        "residual_conv4",
        "an identity skip over conv4",
        "claim 8",
        "little: one skip in a net of eight layers",
        PAPER.but(conv4={"residual": True}),
        readings=("A8 conv4 is the one convolution whose input and output agree; the skip joins before the ReLU",),
    ),
    _one(
        "second_pool_overlaps_only",
        "pool1 and pool5 of 2x2, pool2 of 3x3, all with stride 2",
        "claim 59",
        "between grouped_2gpu and non_overlapping_pool",
        each(PAPER, ("pool1", "pool5"), size=2, rule="floor"),
    ),
    _one(
        "dropout_before_relu",
        "dropout before the ReLU of fc6 and fc7",
        "claim 38",
        "nothing: relu(mask * x) = mask * relu(x) for a mask that is never negative",
        PAPER.move("drop6", after="fc6").move("drop7", after="fc7"),
    ),
    _one(
        "lrn_after_pool",
        "the first response norm after the first pool",
        "claim 41",
        "slightly higher error",
        PAPER.move("norm1", after="pool1"),
        published=("run_120",),
        readings=("the second norm stays before pool2, which the claim allows; caffenet has both after their pools",),
    ),
    _one(
        "spatial_lrn",
        "response norms within each map (5x5 neighbours), not across maps",
        "claims 40, 56, 57",
        "unknown; the 2012 code had one such norm beside the others, and losing it cost nothing (code_2012_norm1_only)",
        PAPER.without("norm1", "norm2")
        .after("relu1", SpatialLRN(name="norm1"))
        .after("relu2", SpatialLRN(name="norm2")),
        readings=("constants are those of the 2012 code's within-map norm: 1e-3 over 25 pixels, power .75, k = 1",),
    ),
    _one(
        "he_init",
        "weights start by He's rule in every layer",
        "claim 27",
        "a loss far above ln(classes) at the start: He's rule keeps the scale of raw pixels up to the class scores",
        with_init(PAPER, named(PAPER, WITH_WEIGHTS), scheme="he_normal"),
        readings=("biases keep their start, though He et al. (2015) have them at 0",),
    ),
    _one(
        "gradient_clipping",
        "recipe: gradients clipped to a norm of 1",
        "claim 28",
        "slower where gradients are larger than that",
        changes=(("clip_norm", 1.0),),
        readings=("A12 the threshold is not given; 1 is common",),
    ),
    _one(
        "label_smoothing",
        "recipe: labels smoothed by .1",
        "claims 9, 55",
        "higher training loss; the effect on error is open",
        changes=(("loss.smoothing", 0.1),),
        readings=("A13 a tenth is spread over all classes; loss.reading has the two literal readings",),
    ),
    _one(
        "nesterov",
        "recipe: Nesterov's momentum",
        "claim 33",
        "hardly any difference",
        changes=(("nesterov", True),),
        published=("caffenet128.nesterov",),
    ),
    _one(
        "inverse_sqrt_rate",
        "recipe: a first learning rate of 1/sqrt(128) = .088",
        "claim 34",
        "divergence without batch norm",
        changes=(("lr", 1.0 / sqrt(128)),),
        readings=("k is the paper's batch of 128 under every recipe",),
    ),
    _one(
        "step_100k",
        "recipe: a tenth of the learning rate every 100,000 updates",
        "claim 35",
        "at batch 128 a drop every 10 epochs, so nine in 90: the later ones are wasted",
        changes=(("schedule", EverySteps(steps=100_000)),),
        readings=("a short run never reaches its first drop",),
    ),
    _one(
        "rotate_scale_crop",
        "recipe: rotation, scaling and crops in place of mirrors and colour noise",
        "claims 22-25",
        "higher error, as CB has for 5 degrees of rotation and for several scales",
        changes=(
            ("augmentation.rotate_degrees", 15.0),
            ("augmentation.scale", (0.5, 1.0)),
            ("augmentation.mirror", False),
            ("augmentation.colour_std", 0.0),
        ),
        readings=("A1 at most 15 degrees, A2 half to full side: neither is given",),
    ),
)
