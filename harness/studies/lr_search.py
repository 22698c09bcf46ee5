"""A search for each network's learning rate before a study's runs, as figure 1 of the paper needs it.

Every rate of a grid is trained with one seed that no later run has. The best rate and its two
neighbours in the grid are then trained with the study's seeds, so that the result does not come from
the runs that chose the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.records.learning_curve import diverged, order, reached
from harness.records.record import RunRecord
from harness.resolve import RunRequest
from harness.studies.study import SEARCH_SEED, LrSearch

Lookup = Callable[[RunRequest], RunRecord | None]  # the finished record of a request, if there is one


def search_request(request: RunRequest, search: LrSearch, rate: float) -> RunRequest:
    """The run that tries one rate."""
    return _at(request, search, rate, search.search_epochs, SEARCH_SEED)


def seed_request(request: RunRequest, search: LrSearch, rate: float, seed: int) -> RunRequest:
    """A run that counts, at one of the chosen rates."""
    return _at(request, search, rate, search.epochs, seed)


def chosen(
    request: RunRequest, search: LrSearch, found: Lookup, threshold: float
) -> tuple[float, ...] | None:
    """The best rate, then its neighbours in the grid; None while a run of the search is missing."""
    records = [found(search_request(request, search, rate)) for rate in search.rates]
    if any(record is None for record in records):
        return None
    results = [reached(record, threshold) for record in records if record is not None]
    best = min(range(len(results)), key=[order(result) for result in results].__getitem__)
    return tuple(
        search.rates[place] for place in (best, best - 1, best + 1) if 0 <= place < len(search.rates)
    )


def finished(record: RunRecord) -> bool:
    """Whether a run of a search or study is done: it ended, or its loss was no longer finite."""
    return record.summary.status == "ok" or diverged(record)


def searched_requests(
    request: RunRequest,
    searches: Sequence[LrSearch],
    seeds: Sequence[int],
    found: Lookup,
    threshold: float,
) -> list[RunRequest]:
    """The runs that are known so far: the searches, then the chosen rates once all searches are done.

    The best rates come first with all their seeds, since the result rests on them; then the neighbours.
    """
    planned = [search_request(request, search, rate) for search in searches for rate in search.rates]
    rates = [chosen(request, search, found, threshold) for search in searches]
    for ranks in (slice(0, 1), slice(1, None)):
        for seed in seeds:
            for search, ranked in zip(searches, rates, strict=True):
                if None not in rates and ranked is not None:
                    planned += [seed_request(request, search, rate, seed) for rate in ranked[ranks]]
    return planned


def _at(request: RunRequest, search: LrSearch, rate: float, epochs: float, seed: int) -> RunRequest:
    settings = (f"lr={rate:g}", f"epochs={epochs:g}")
    return replace(
        request, variant=search.variant, seed=seed, overrides=(*request.overrides, *settings)
    )
