"""Studies: named lists of runs to compare. runs.py says which of them are missing, and runs
them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.errors import unknown
from variants.catalog import CATALOG
from variants.values import value

SEARCH_SEED = 1000  # runs with this seed choose a learning rate; no result counts them
FIGURE_1_ERROR = 0.25  # the dashed line of the paper's figure 1


@value
class LrSearch:
    """The grid of one variant's learning rates, ascending, and how long its runs may take.

    search_epochs: length of a run that searches. epochs: length of a later run; it is censored there.
    """

    variant: str
    rates: tuple[float, ...]
    search_epochs: float
    epochs: float


@value
class Study:
    """Variants, recipe and data of a study. `meaning` is one line for the list and the report.

    settings: changes of the recipe for all runs, such as "epochs=2". searches: the variants' learning
    rates are searched first (lr_search.py). long: it takes many hours, so records of any machine count,
    also those in results/reference/<study>/, and the probes are sampled once a minute.
    plan: what was decided before the first run, sentences for the report.
    """

    meaning: str
    variants: tuple[str, ...]
    recipe: str = "mini"
    data: str = "fashion_mnist"
    seeds: int = 3
    settings: tuple[str, ...] = ()
    searches: tuple[LrSearch, ...] = ()
    long: bool = False
    plan: tuple[str, ...] = ()


def _trainable(boxes: bool) -> tuple[str, ...]:
    """Rows with a mini geometry, either with or without a box head."""
    rows = [row for row in CATALOG.values() if "mini" in row.geometries]
    return tuple(row.name for row in rows if (row.spec.box is not None) == boxes)


def _figure_1(relu: str, tanh: str, meaning: str) -> Study:
    return Study(
        meaning=meaning,
        variants=(relu, tanh),
        recipe="cifar_2012",
        data="cifar10",
        seeds=5,
        settings=("evaluation.training_error=true", f"stop_below={FIGURE_1_ERROR}"),
        searches=(
            LrSearch(
                variant=tanh,
                rates=(0.002, 0.0028, 0.004, 0.0056, 0.008, 0.0112),
                search_epochs=40.0,
                epochs=80.0,
            ),
            LrSearch(
                variant=relu,
                rates=(0.001, 0.0014, 0.002, 0.0028, 0.004, 0.0056, 0.008),
                search_epochs=20.0,
                epochs=40.0,
            ),
        ),
        long=True,
        plan=(
            "Images: CIFAR-10. A copy whose images were encoded as JPEG counts, too, since both "
            "networks see the same "
            "images; the report names it.",
            "Measure: the number of epochs until the top-1 error on all 50,000 training images, "
            "without augmentation, "
            "is below 25 %. It is evaluated after each epoch and interpolated between two "
            "evaluations. Both networks "
            "have the same number of iterations per epoch, so the ratio of epochs is the ratio of "
            "iterations.",
            "Search: each network's learning rate is chosen from a fixed grid, on one seed that no "
            "counted run has. "
            "The best rate is the one with the fewest epochs to 25 %; if none gets there within the "
            "length of a search "
            "run, it is the one with the lowest training error at the end. A run whose loss is not "
            "finite comes last.",
            "Runs: 5 new seeds of each network at its best rate, then at its two neighbours in the "
            "grid. A run ends at "
            "25 %, or at the stated number of epochs; then it is censored, shown as such, and never "
            "dropped.",
            "Result: the ratio of the mean epochs of both networks at their best rates, tanh over "
            "ReLU, with a 95 % "
            "bootstrap interval over seeds. If a run with tanh is censored, its length is a lower "
            "bound, and so is the "
            "ratio.",
            'Verdict: "several times faster" is reproduced if the lower end of the interval is above '
            '2, "six times" if '
            "the whole interval is between 4 and 9. They are contradicted if the whole interval is "
            "on the other side "
            "of these limits. Anything else is inconclusive.",
        ),
    )


# between two samples of a long study's probes; one a second would be 90 MB for 100 runs
LONG_SAMPLE_S = 60.0

# The paper's net and four with a published difference to it
CARD = ("grouped_2gpu", "single_gpu", "no_lrn", "non_overlapping_pool", "ungrouped")
MOST_SEEDS = 100  # of a variant, where --minutes says how long to go on
STUDIES: dict[str, Study] = {
    "reproduce": Study(
        meaning="the networks of README's table, small, on any machine", variants=CARD, seeds=5
    ),
    "catalogue": Study(
        meaning="every row of the catalogue that fits 32 pixels", variants=_trainable(boxes=False)
    ),
    "article": Study(
        meaning="the article's networks, with classifier and box head, and the paper's",
        variants=("grouped_2gpu", *_trainable(boxes=True)),
        data="boxes",
    ),
    "figure1": _figure_1(
        "cifar_4layer_relu",
        "cifar_4layer_tanh",
        "figure 1 of the paper: epochs to 25 % training error with ReLU and with tanh (the 18 % net)",
    ),
    "figure1_local": _figure_1(
        "cifar_4layer_local_relu",
        "cifar_4layer_local_tanh",
        "figure 1 of the paper with the other interpretation of its net (the 13 % net)",
    ),
    "imagenet": Study(
        meaning="the same at full size with the paper's recipe; needs --path to ImageNet and a GPU",
        variants=CARD,
        recipe="paper",
        data="imagenet",
        seeds=1,
    ),
}


def study_named(name: str, **changes: Any) -> Study:
    """The study with the fields that are not None changed. Raises UsageError with a suggestion."""
    if name not in STUDIES:
        raise unknown("study", name, STUDIES, "python -m harness reproduce --help")
    return replace(STUDIES[name], **{field: new for field, new in changes.items() if new is not None})
