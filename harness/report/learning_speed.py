"""How many epochs two networks need to a training error, as in the paper's figure 1: the ratio, and
verdicts on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

from harness.records.learning_curve import Point, Reached, diverged, order, reached, training_curve
from harness.records.store import RunRecord
from harness.report.image_sets import figure_1_obstacle
from harness.report.stats import Estimate, Interval, over_seeds, ratio_of_means, ratio_of_means_by_t
from harness.report.verdicts import Verdict
from harness.spec import DataSpec
from harness.studies.long import FIGURE_1_SEEDS
from harness.studies.study import SEARCH_SEED
from variants.layers import Activation
from variants.spec import AlexNetSpec
from variants.values import value

Edge: TypeAlias = Literal["lowest", "highest"]
SEVERAL = 2.0  # "several times faster", as decided before the first run (harness/studies/long.py)
ABOUT_SIX = (4.0, 9.0)  # "six times faster"


@value
class TimedRun:
    """One run that trained to a threshold of its training error."""

    variant: str
    rate: float
    seed: int
    run_id: str
    reached: Reached
    curve: tuple[Point, ...]

    @property
    def epochs(self) -> float:
        """The epochs to the threshold; for a censored run its length, which is a lower bound."""
        return self.reached.last_epoch if self.reached.epochs is None else self.reached.epochs


@value
class AtOneRate:
    """The counted runs of one network at one learning rate, by seed."""

    variant: str
    rate: float
    runs: tuple[TimedRun, ...]

    @property
    def censored(self) -> int:
        return sum(run.reached.epochs is None for run in self.runs)

    @property
    def epochs(self) -> list[float]:
        return [run.epochs for run in self.runs]

    @property
    def mean(self) -> Estimate:
        """Over seeds; a lower bound if a run is censored."""
        return over_seeds(self.epochs)


@value
class Ratio:
    """Mean epochs of `slow` over mean epochs of `fast`, each at its best rate.

    bootstrap: 95 % interval over seeds; by_t: that of the log ratio by Welch's t. None with one seed on
    a side.
    """

    slow: AtOneRate
    fast: AtOneRate
    value: float
    bootstrap: Interval | None
    by_t: Interval | None

    @property
    def has_all_seeds(self) -> bool:
        """Whether both networks have as many as planned before the first run."""
        return min(len(self.slow.runs), len(self.fast.runs)) >= FIGURE_1_SEEDS

    def is_in(self, low: float, high: float) -> Verdict:
        """Whether the ratio lies between the limits: both intervals must agree, censored runs are
        lower bounds.
        """
        if self.bootstrap is None or self.by_t is None or self.fast.censored:
            return "inconclusive"
        intervals = [self.bootstrap, self.by_t]
        if self.slow.censored:
            intervals = [Interval(low=one.low, high=inf) for one in intervals]
        if all(
            (low < one.low and one.high < high) or (one.low > low and high == inf) for one in intervals
        ):
            return "reproduced"
        return "contradicted" if all(one.outside(low, high) for one in intervals) else "inconclusive"


@dataclass(frozen=True)
class LearningSpeed:
    """Runs to one training error on the same images. runs: without those of a search; searched: only
    those.
    """

    data: DataSpec
    threshold: float
    runs: tuple[TimedRun, ...]
    searched: tuple[TimedRun, ...]
    functions: dict[str, str]  # variant -> its activation function
    records: tuple[RunRecord, ...]

    @property
    def variants(self) -> list[str]:
        return sorted(self.functions, key=lambda name: (self.functions[name] != "relu", name))

    def rates(self, variant: str) -> list[AtOneRate]:
        """The counted runs by rate, ascending."""
        mine = [run for run in self.runs if run.variant == variant]
        return [
            AtOneRate(variant=variant, rate=rate, runs=tuple(run for run in mine if run.rate == rate))
            for rate in sorted({run.rate for run in mine})
        ]

    def search(self, variant: str) -> list[TimedRun]:
        return sorted(
            (run for run in self.searched if run.variant == variant), key=lambda run: run.rate
        )

    def at_the_edge(self, variant: str) -> Edge | None:
        """Which end of its grid the best rate of the search is, if it is one: a rate beyond it might be
        better.
        """
        grid, best = [run.rate for run in self.search(variant)], self._chosen(variant)
        if len(grid) < 2 or best not in (grid[0], grid[-1]):
            return None
        return "lowest" if best == grid[0] else "highest"

    def _chosen(self, variant: str) -> float | None:
        """The best rate of the search; None without one."""
        search = self.search(variant)
        return min(search, key=lambda run: order(run.reached)).rate if search else None

    def best(self, variant: str) -> AtOneRate | None:
        """The runs at the rate that the search chose; None before there are any.

        Without a search: the only rate.
        """
        rates, chosen = self.rates(variant), self._chosen(variant)
        if chosen is None:
            return rates[0] if len(rates) == 1 else None
        return next((at for at in rates if at.rate == chosen), None)

    def ratio(self) -> Ratio | None:
        """The network with tanh over that with ReLU; None while one of them has no counted run."""
        by_function = {self.functions[name]: self.best(name) for name in self.variants}
        slow, fast = by_function.get("tanh"), by_function.get("relu")
        if slow is None or fast is None:
            return None
        mean, interval = ratio_of_means(slow.epochs, fast.epochs)
        by_t = ratio_of_means_by_t(slow.epochs, fast.epochs)
        return Ratio(slow=slow, fast=fast, value=mean, bootstrap=interval, by_t=by_t)

    def several(self) -> Verdict:
        """The verdict on "several times faster"."""
        return self._verdict(SEVERAL, inf)

    def six(self) -> Verdict:
        """The verdict on "six times faster"."""
        return self._verdict(*ABOUT_SIX)

    def _verdict(self, low: float, high: float) -> Verdict:
        ratio = self.ratio()
        if ratio is None:
            return "not run"
        if not ratio.has_all_seeds or figure_1_obstacle(self.data):
            return "inconclusive"
        return ratio.is_in(low, high)


def is_timed(record: RunRecord) -> bool:
    """Whether the run trains to a threshold; its error at the end says nothing then."""
    return record.spec.recipe.stop_below is not None


def timed_and_diverged(record: RunRecord) -> bool:
    """Whether the run counts as one that never reaches its threshold, since its loss was no longer
    finite.
    """
    return is_timed(record) and diverged(record)


def learning_speeds(records: Iterable[RunRecord]) -> tuple[LearningSpeed, ...]:
    """The timed runs among the records, grouped by images and threshold.

    Unfinished runs are left out.
    """
    groups: dict[tuple[DataSpec, float], list[RunRecord]] = {}
    for record in records:
        threshold = record.spec.recipe.stop_below
        if threshold is not None and (record.summary.status == "ok" or timed_and_diverged(record)):
            groups.setdefault((record.spec.data, threshold), []).append(record)
    return tuple(_learning_speed(*key, group) for key, group in groups.items())


def _learning_speed(data: DataSpec, threshold: float, records: Sequence[RunRecord]) -> LearningSpeed:
    # each seed once
    runs = list({(run.variant, run.rate, run.seed): run for run in map(_timed, records)}.values())
    runs.sort(key=lambda run: (run.variant, run.rate, run.seed))
    return LearningSpeed(
        data=data,
        threshold=threshold,
        runs=tuple(run for run in runs if run.seed != SEARCH_SEED),
        searched=tuple(run for run in runs if run.seed == SEARCH_SEED),
        functions={record.spec.variant: _function(record.spec.net) for record in records},
        records=tuple(records),
    )


def _timed(record: RunRecord) -> TimedRun:
    spec = record.spec
    assert spec.recipe.stop_below is not None
    return TimedRun(
        variant=spec.variant,
        rate=spec.recipe.lr,
        seed=spec.seed,
        run_id=record.run_id,
        reached=reached(record, spec.recipe.stop_below),
        curve=training_curve(record),
    )


def _function(net: AlexNetSpec) -> str:
    """The activation function of the first activation layer."""
    return next((layer.function for layer in net.layers if isinstance(layer, Activation)), "none")
