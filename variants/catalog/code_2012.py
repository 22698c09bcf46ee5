"""The 2012 source code's net (run 145) and the runs of its log, where they differ from the paper.

S is the 2012 source code; each of its layers/layer-params-N.cfg ends with that run's log.
"""

from __future__ import annotations

from variants.catalog.edits import each, named, ungroup, with_init
from variants.catalog.paper import PAPER
from variants.catalog.row import Variant
from variants.layers import LRN, Pool, SpatialLRN
from variants.recipes.recipe import LateChange

CODE = (
    with_init(
        each(PAPER, named(PAPER, LRN), divide_by_size=True), ("conv3", "conv4", "conv5"), std=0.03
    )
    .move("relu1", after="pool1")
    .move("relu5", after="pool5")
    .after("norm2", SpatialLRN(name="rnorm2", size=5, alpha=1e-3, beta=0.75, k=1.0))
)

DROPS_BY_HAND = (
    "this run's log drops the learning rate a few epochs earlier or later; this row uses run 145's "
    "epochs"
)


CODE_ROWS = (
    Variant(
        name="code_2012",
        family="code_2012",
        meaning="run 145, the paper's numbers: norm before ReLU in layer 1, third norm, std .03 in "
        "conv3-5",
        source="S layers-145.cfg, layer-params-145.cfg",
        expects="the errors of one net in the paper's table 2, which are those of this run",
        spec=CODE,
        recipe="code_2012",
        published=("run_145",),
        readings=(
            "ReLU follows pool1 and pool5, as in the file; its order matters with norm1, but not with "
            "max pooling",
            "norms divide alpha by the window size (layer.py:1183): 2e-5 per term across maps, 4e-5 "
            "per term within a map",
        ),
    ),
    Variant(
        name="code_2012_half",
        family="code_2012",
        meaning="run 145-half: one column, conv5 and dense layers at full width",
        source="S layers-145-half.cfg",
        expects="higher error than run 145: the paper's gain from two GPUs",
        spec=ungroup(CODE).but(
            conv1={"out": 48}, conv2={"out": 128}, conv3={"out": 192}, conv4={"out": 192}
        ),
        recipe="code_2012",
        published=("run_145-half",),
        readings=(DROPS_BY_HAND,),
    ),
    Variant(
        name="code_2012_pool2",
        family="code_2012",
        meaning="run 147: 2x2 pools, conv2 padded by 1 and conv5 by 0 to keep 13 and 6",
        source="S layers-147.cfg",
        expects="higher error than run 145: the paper's gain from overlapping pooling",
        spec=each(CODE, named(CODE, Pool), size=2).but(conv2={"padding": 1}, conv5={"padding": 0}),
        recipe="code_2012",
        recipe_changes=(
            ("epochs", 90.0),
            ("schedule.at_epochs", (23.0, 51.0, 79.0)),
            ("late_changes", (LateChange(at_epoch=79.0, layer="conv1", lr=0.0),)),
        ),
        published=("run_147",),
        readings=(
            "the log never lowers conv1's learning rate, and freezes conv1 at epoch 79; it doesn't "
            "mention colour noise, which therefore stays on to the end",
            "the biases' learning rate ended at .002, not .02; it dropped at an unknown epoch after 23",
        ),
    ),
    Variant(
        name="code_2012_no_norm",
        family="code_2012",
        meaning="run 148: none of the three norms",
        source="S layers-148.cfg",
        expects="higher error than run 145: the paper's gain from response normalisation",
        spec=CODE.without("norm1", "norm2", "rnorm2"),
        recipe="code_2012",
        published=("run_148",),
        readings=(DROPS_BY_HAND,),
    ),
    Variant(
        name="code_2012_no_crosstalk",
        family="code_2012",
        meaning="run 150: the columns are connected in fc8 only; conv2 has 320 kernels, fc6 2 x 4096 "
        "units",
        source="S layers-150.cfg",
        expects="higher error, since the columns don't exchange features; not in the paper",
        spec=CODE.but(
            conv2={"out": 320},
            conv3={"groups": 2},
            fc6={"out": 8192, "groups": 2},
            fc7={"out": 4096, "groups": 2},
        ),
        recipe="code_2012",
        published=("run_150",),
        readings=(DROPS_BY_HAND,),
    ),
    Variant(
        name="code_2012_norm1_only",
        family="code_2012",
        meaning="run 167: response norm in layer 1 only, and the learning rate falls in four equal "
        "stages",
        source="S layer-params-167.cfg",
        expects="the same error as run 145, so only the first of the three norms matters; not in the "
        "paper",
        spec=CODE.without("norm2", "rnorm2"),
        recipe="code_2012_dexp",
        published=("run_167",),
    ),
)
