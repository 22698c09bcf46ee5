"""The catalogue: every AlexNet by name. The paper's rows stand here, as its list of claims; other families beside it.

A row is a name, a delta, a claim, a citation. P is Krizhevsky, Sutskever and Hinton, NIPS 2012; S the 2012 source code
(github.com/computerhistory/AlexNet-Source-Code), whose layer files end with the log of the runs that the paper reports.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from variants.catalog_base import PAPER, WITH_WEIGHTS, Effect, Score, Variant, each, named, ungroup
from variants.layers import AdaptivePool, Init, Pool

__all__ = ["CATALOG", "PAPER", "Effect", "Score", "Variant", "get", "names"]

PAPER_ROWS = (
    Variant(
        name="grouped_2gpu",
        family="paper",
        meaning="the paper's net: two columns, response norm per column",
        source="P sec. 3.5, fig. 2",
        expects="the reference of every other row; 60,965,224 parameters, the paper's 60 million",
        spec=PAPER,
        score=Score(
            top1_percent=40.7,
            top5_percent=18.2,
            data="ILSVRC-2012 val",
            protocol="ten_view",
            source="P sec. 6, table 2 (1 CNN)",
        ),
        readings=(
            "224 pixels give 55 positions by the 2012 code's ceil rule (layer.py:1004), as 227 do without it",
            "response norm as printed: alpha = 1e-4 is not divided by the window; the code divides it",
            "norms are split per column, since each GPU saw only its own maps",
        ),
    ),
    Variant(
        name="single_gpu",
        family="paper",
        meaning="the paper's one-GPU net: half the kernels, conv5 and dense layers at full width",
        source="P sec. 3.2, footnote 2; S layers-145-half.cfg",
        expects="higher error than two columns",
        spec=ungroup(PAPER).but(conv1={"out": 48}, conv2={"out": 128}, conv3={"out": 192}, conv4={"out": 192}),
        effect=Effect(
            top1_points=1.7,
            top5_points=1.2,
            versus="grouped_2gpu",
            data="ILSVRC-2010 test",
            protocol="ten_view",
            source="P sec. 3.2",
            note="the data set is the run log's (145-half against 145-2010)",
        ),
    ),
    Variant(
        name="ungrouped",
        family="paper",
        meaning="the paper's widths without columns: every kernel reads every map",
        source="P sec. 3.2 (connectivity)",
        expects="lower error than two columns, for 57 % more multiply-accumulates",
        spec=ungroup(PAPER),
        effect=Effect(
            top1_points=-1.6,
            top5_points=None,
            versus="grouped_2gpu",
            data="ILSVRC-2012 val at 128 pixels",
            protocol="centre",
            source="caffenet-benchmark@e47c4ff, README (no groups .487 against .471)",
            note="measured on caffenet128 (dense layers of 2048, LSUV init, no response norm), one run",
        ),
    ),
    Variant(
        name="no_lrn",
        family="paper",
        meaning="without response normalisation",
        source="P sec. 3.3; S layers-148.cfg",
        expects="higher error; no effect where inputs are scaled to unit variance, since alpha's term is 2e-6 there",
        spec=PAPER.without("norm1", "norm2"),
        effect=Effect(
            top1_points=1.4,
            top5_points=1.2,
            versus="grouped_2gpu",
            data="ILSVRC-2012 val",
            protocol="ten_view",
            source="P sec. 3.3",
            note="run 148 also lacked the within-map norm of the code's layer 2, which the paper doesn't mention",
        ),
    ),
    Variant(
        name="non_overlapping_pool",
        family="paper",
        meaning="2x2 pools with stride 2 in place of 3x3 with stride 2; every map keeps its size",
        source="P sec. 3.4; S layers-147.cfg",
        expects="slightly higher error; overlap makes overfitting slightly harder",
        spec=each(PAPER, named(PAPER, Pool), size=2, stride=2, rule="floor"),
        effect=Effect(
            top1_points=0.4,
            top5_points=0.3,
            versus="grouped_2gpu",
            data="ILSVRC-2012 val",
            protocol="ten_view",
            source="P sec. 3.4",
        ),
        readings=("the floor rule keeps 27, 13 and 6; run 147 kept 13 and 6 by other paddings (code_2012_pool2)",),
    ),
)

_TORCH = Init(scheme="torch")

DERIVATIVE_ROWS = (
    Variant(
        name="one_weird_trick",
        family="derivative",
        meaning="torchvision's alexnet, layer for layer: no columns, no response norm, dropout before fc6 and fc7",
        source="arXiv 1404.5997; torchvision models/alexnet.py",
        expects="error close to the paper's with fewer kernels in conv1 and conv2",
        spec=each(each(ungroup(PAPER), named(PAPER, Pool), rule="floor"), named(PAPER, WITH_WEIGHTS), init=_TORCH)
        .without("norm1", "norm2")
        .but(conv1={"out": 64, "padding": 2, "rule": "floor"}, conv2={"out": 192}, conv4={"out": 256})
        .after("pool5", AdaptivePool(name="avgpool", size=6))
        .move("drop6", after="avgpool")
        .move("drop7", after="relu6"),
        recipe="torchvision",
    ),
)

CATALOG: dict[str, Variant] = {row.name: row for row in (*PAPER_ROWS, *DERIVATIVE_ROWS)}


def get(name: str) -> Variant:
    """The row of that name; KeyError where there is none."""
    return CATALOG[name]


def names(pattern: str | None = None) -> list[str]:
    """Names of all rows, or of those that match a shell pattern such as `code_*`, in the catalogue's order."""
    return [name for name in CATALOG if pattern is None or fnmatchcase(name, pattern)]
