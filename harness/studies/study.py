"""`Study`: what a study is, as a value. rows.py is the table of studies."""

from __future__ import annotations

from variants.values import value

SEARCH_SEED = 1000  # runs with this seed choose a learning rate; no result counts them


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


# between two samples of a long study's probes; one a second would be 90 MB for 100 runs
LONG_SAMPLE_S = 60.0
