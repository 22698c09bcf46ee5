"""The paper's network, layer by layer, and the rows that test the paper's claims. Read this file first.

`PAPER` is the network of Krizhevsky, Sutskever and Hinton (NIPS 2012), section 3.5. Every row below is
`PAPER` with one edit, and so are most rows of the other files. A row says what it changes (`meaning`),
which document says so (`source`), what result that document leads us to expect (`expects`), and which
published measurements it is compared with (`published`; `python -m harness show NAME` prints their
numbers). `readings` lists our choices where the sources leave something open.

P is the paper, S the 2012 source code, ZF Zeiler and Fergus; `row.CITATIONS` has the full names.
"""

from __future__ import annotations

from variants.catalog.edits import each, named, ungroup, with_init
from variants.catalog.row import Variant
from variants.layers import LRN, Activation, Conv, Dense, Dropout, Init, Pool
from variants.spec import AlexNetSpec


def _relu(name: str) -> Activation:
    return Activation(name=name)


def _norm(name: str) -> LRN:
    """Response normalisation across 5 neighbouring maps of one column (sec. 3.3). alpha is not
    divided by 5.
    """
    return LRN(name=name, size=5, alpha=1e-4, beta=0.75, k=2.0, divide_by_size=False, groups=2)


# All weights start as N(0, .01). Biases start at 0, or at 1 where `_BIAS_1` is set (sec. 5). Pools are
# 3x3 with stride 2, so that their windows overlap (sec. 3.4). groups=2 separates the two columns, one
# on each GPU (sec. 3.2).
_BIAS_1 = Init(bias=1.0)

PAPER = AlexNetSpec(
    input_size=224,
    layers=(
        # 96 x 55 x 55; the last window extends 3 pixels beyond the edge
        Conv(name="conv1", out=96, kernel=11, stride=4, rule="ceil"),
        _relu("relu1"),
        _norm("norm1"),
        Pool(name="pool1"),  # 96 x 27 x 27
        Conv(name="conv2", out=256, kernel=5, padding=2, groups=2, init=_BIAS_1),  # 256 x 27 x 27
        _relu("relu2"),
        _norm("norm2"),
        Pool(name="pool2"),  # 256 x 13 x 13
        # 384 x 13 x 13; the only convolution that reads both columns
        Conv(name="conv3", out=384, kernel=3, padding=1),
        _relu("relu3"),
        Conv(name="conv4", out=384, kernel=3, padding=1, groups=2, init=_BIAS_1),  # 384 x 13 x 13
        _relu("relu4"),
        Conv(name="conv5", out=256, kernel=3, padding=1, groups=2, init=_BIAS_1),  # 256 x 13 x 13
        _relu("relu5"),
        Pool(name="pool5"),  # 256 x 6 x 6 = 9216 inputs of fc6
        Dense(name="fc6", out=4096, init=_BIAS_1),
        _relu("relu6"),
        Dropout(name="drop6"),
        Dense(name="fc7", out=4096, init=_BIAS_1),
        _relu("relu7"),
        Dropout(name="drop7"),
        Dense(name="fc8", out=1000),
    ),
)

PAPER_ROWS = (
    Variant(
        name="grouped_2gpu",
        family="paper",
        meaning="the paper's net: two columns, response norm per column",
        source="P sec. 3.5, fig. 2",
        expects="the base that other rows are compared with; it has 60,965,224 parameters, the paper's "
        "60 million",
        spec=PAPER,
        published=("paper.t2.one_cnn",),
        readings=(
            "224 pixels give 55 positions by the 2012 code's ceil rule (layer.py:1004); by the floor "
            "rule 227 pixels would",
            "response norm as printed: alpha = 1e-4 is not divided by the window size; the 2012 code "
            "divides it by 5",
            "response norms work within each column, since each GPU had only its own maps",
        ),
    ),
    Variant(
        name="single_gpu",
        family="paper",
        meaning="the paper's one-GPU net: half of the kernels, but conv5 and the dense layers at full "
        "width",
        source="P sec. 3.2, footnote 2; S layers-145-half.cfg",
        expects="higher error than two columns",
        spec=ungroup(PAPER).but(
            conv1={"out": 48}, conv2={"out": 128}, conv3={"out": 192}, conv4={"out": 192}
        ),
        published=("paper.one_gpu",),
    ),
    Variant(
        name="ungrouped",
        family="paper",
        meaning="the paper's widths without groups: every kernel reads every map",
        source="P sec. 3.2 (connectivity)",
        expects="lower error than two columns, with 57 % more multiply-accumulates",
        spec=ungroup(PAPER),
        published=("caffenet128.ungrouped",),
    ),
    Variant(
        name="no_lrn",
        family="paper",
        meaning="without response normalisation",
        source="P sec. 3.3; S layers-148.cfg",
        expects="higher error; no effect if inputs are scaled to unit variance, since the term with "
        "alpha is then 2e-6",
        spec=PAPER.without("norm1", "norm2"),
        published=("paper.lrn",),
    ),
    Variant(
        name="non_overlapping_pool",
        family="paper",
        meaning="2x2 instead of 3x3 pools with stride 2: no overlap, same map sizes",
        source="P sec. 3.4; S layers-147.cfg",
        expects="slightly higher error; the paper says that overlap slightly reduces overfitting",
        spec=each(PAPER, named(PAPER, Pool), size=2, rule="floor"),
        published=("paper.pool",),
        readings=(
            "the floor rule keeps map sizes of 27, 13 and 6; run 147 used other paddings for that "
            "(code_2012_pool2)",
        ),
    ),
    Variant(
        name="tanh",
        family="paper",
        meaning="tanh instead of every ReLU",
        source="P sec. 3.1, fig. 1",
        expects="training is several times slower; the paper shows a factor of 6 on a CIFAR-10 net "
        "(cifar_4layer_tanh)",
        spec=each(PAPER, named(PAPER, Activation), function="tanh"),
        published=("caffenet128.activation.tanh",),
        readings=("biases of 1 stay, although their purpose was to give ReLUs positive inputs",),
    ),
    Variant(
        name="no_dropout",
        family="paper",
        meaning="without dropout",
        source="P sec. 4.2",
        expects="substantial overfitting, and convergence in about half of the iterations",
        spec=PAPER.without("drop6", "drop7"),
    ),
    Variant(
        name="no_conv3",
        family="paper",
        meaning="without the third convolution",
        source="P sec. 7",
        expects="about two points more top-1 error, as for any middle layer",
        spec=PAPER.without("conv3", "relu3"),
        published=("paper.no_conv3",),
        readings=(
            "conv4 keeps its groups, so fc6 is the first layer that reads both columns; with an "
            "ungrouped conv4 the row would equal no_conv4 except for a bias",
        ),
    ),
    Variant(
        name="no_conv4",
        family="paper",
        meaning="without the fourth convolution",
        source="P sec. 7",
        expects="about two points more top-1 error, as for any middle layer",
        spec=PAPER.without("conv4", "relu4"),
        published=("paper.no_conv4",),
    ),
    Variant(
        name="no_conv3_conv4",
        family="paper",
        meaning="without the third and fourth convolutions",
        source="ZF table 3 (removed layers 3,4)",
        expects="clearly higher error, since depth matters",
        spec=PAPER.without("conv3", "relu3", "conv4", "relu4"),
        published=("zf.no_conv3_conv4",),
        readings=("conv5 keeps its groups, so fc6 is the first layer that reads both columns",),
    ),
    Variant(
        name="no_fc7",
        family="paper",
        meaning="without the second dense layer",
        source="ZF table 3 (removed layer 7)",
        expects="hardly any difference, with 17 million fewer parameters",
        spec=PAPER.without("fc7", "relu7", "drop7"),
        published=("zf.no_fc7",),
    ),
    Variant(
        name="no_fc6_fc7",
        family="paper",
        meaning="without both hidden dense layers",
        source="ZF table 3 (removed layers 6,7)",
        expects="higher error, with 85 % fewer parameters",
        spec=PAPER.without("fc6", "relu6", "drop6", "fc7", "relu7", "drop7"),
        published=("zf.no_fc6_fc7",),
    ),
    Variant(
        name="fc_2048",
        family="paper",
        meaning="hidden dense layers of 2048 instead of 4096 units",
        source="ZF table 3 (adjusted layers 6,7: 2048 units)",
        expects="slightly higher error with less than half of the parameters",
        spec=PAPER.but(fc6={"out": 2048}, fc7={"out": 2048}),
        published=("zf.fc_2048",),
    ),
    Variant(
        name="no_pca_colour",
        family="paper",
        meaning="recipe: without colour noise along the principal components",
        source="P sec. 4.1",
        expects="over one point more top-1 error",
        spec=PAPER,
        recipe_changes=(("augmentation.colour_std", 0.0),),
        published=("paper.pca",),
    ),
    Variant(
        name="no_weight_decay",
        family="paper",
        meaning="recipe: without weight decay",
        source="P sec. 5",
        expects="higher training error, since weight decay is not merely a regulariser according to "
        "the paper",
        spec=PAPER,
        recipe_changes=(("weight_decay", 0.0),),
    ),
    Variant(
        name="zero_biases",
        family="paper",
        meaning="all biases start at 0, also in conv2, conv4, conv5, fc6 and fc7, where the paper has "
        "1",
        source="P sec. 5",
        expects="slower early learning",
        spec=with_init(PAPER, ("conv2", "conv4", "conv5", "fc6", "fc7"), bias=0.0),
    ),
)
