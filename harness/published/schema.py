"""The published record as values: measurements, speeds, claims. One rule for numbers: JSON holds what was printed.

Errors and accuracies stand in percent and differences in percentage points, digit for digit as published (a source that
prints .471 has the same digits); code reads them through Target.value, where every error is a fraction.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from variants.values import value

Confidence: TypeAlias = Literal["source", "secondary", "computed", "memory"]
Split: TypeAlias = Literal["train", "val", "test", "none"]
Protocol: TypeAlias = Literal["centre", "ten_view", "nine_view", "training", "arithmetic", "not_stated"]
Measure: TypeAlias = Literal[
    "top1_error",
    "top5_error",
    "localisation_error",
    "log_loss",
    "iterations_ratio",
    "training_hours",
    "parameters",
    "neurons",
    "conv1_neurons",
    "macs",
    "largest_conv_percent",
    "torch_lrn_alpha",
    "images_per_second",
]
# How a printed number is meant: "about 2 points", "over 1 point" (more_than), "not more than 1 %" (at_most).
Bound: TypeAlias = Literal["equals", "about", "more_than", "less_than", "at_most"]
Relation: TypeAlias = Literal["same", "same_change", "none"]
Accuracy: TypeAlias = Literal["top1_accuracy", "top5_accuracy"]

UNITS: dict[Measure, str] = {
    "top1_error": "percent",
    "top5_error": "percent",
    "localisation_error": "percent",
    "log_loss": "log_loss",
    "iterations_ratio": "ratio",
    "training_hours": "hours",
    "parameters": "count",
    "neurons": "count",
    "conv1_neurons": "count",
    "macs": "count",
    "largest_conv_percent": "percent",
    "torch_lrn_alpha": "number",
    "images_per_second": "images_per_second",
}


@value
class Source:
    """Where a number can be looked up. `place` is a repository with its commit, an arXiv number, a page."""

    title: str
    place: str


@value
class Measurement:
    """One network evaluated once: what was printed for it, under one protocol on one split.

    variant: our catalogue's name, or None where no row of ours is or tests this network (`net` says what it is).
    relation: "same" is this very network; "same_change" is the same change made to another base network.
    stands_for: of a base network that is no row: the row whose place it takes under a "same_change".
    recipe: how it was trained: the name of one of our recipes, or whose recipe it was; None: as the row `variant` says.
    baselines: ids of measurements that this one is compared with; differences are then computed, never typed in.
    versus: catalogue name that printed differences refer to; `values` are then differences (this minus that).
    claims: handles of the quantitative claims stated here; one may be stated in several data files.
    """

    id: str
    variant: str | None
    relation: Relation
    stands_for: str | None = None
    net: str
    recipe: str | None = None
    values: dict[Measure | Accuracy, float]
    data: str
    split: Split
    protocol: Protocol
    source: str
    section: str
    confidence: Confidence
    baselines: tuple[str, ...] = ()
    versus: str | None = None
    bound: Bound = "equals"
    note: str | None = None
    claims: tuple[str, ...] = ()


@value
class Remark:
    """What a source says without a number: a run that was stopped, an effect nobody measured."""

    variant: str | None
    text: str
    source: str
    section: str
    claims: tuple[str, ...] = ()


@value
class MeasurementFile:
    """One data file of measurements that belong together."""

    about: str
    measurements: tuple[Measurement, ...]
    remarks: tuple[Remark, ...] = ()


@value
class Throughput:
    """`images` trained on or evaluated in `seconds`, as published; printed images per second have `seconds` = 1."""

    images: float
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


@value
class Speed:
    """One published speed. `timed` says what the clock enclosed: without it a speed can't be compared.

    high: upper end where the source gives a range; `throughput` is then the lower end.
    headline: shown in the history strip; one or two for each generation of machine.
    """

    id: str
    variant: str | None
    net: str
    year: int
    machine: str
    devices: int
    software: str
    mode: Literal["training", "evaluation"]
    images: Literal["real", "synthetic"]
    batch: int | None  # per device
    precision: Literal["fp32", "fp16", "mixed", "not_stated"]
    throughput: Throughput
    high: Throughput | None = None
    timed: str
    source: str
    section: str
    confidence: Confidence
    headline: bool = False
    note: str | None = None
    claims: tuple[str, ...] = ()


@value
class Target:
    """One published or derived number, ready to be compared. `published` is in `unit`, as printed.

    versus: None for an absolute value; else the row, or the measurement of a net that is no row, that is subtracted.
    published_as: the accuracy an error was computed from, or the measure itself.
    source, section, place: the source's short name, the place within it, and where the source is found.
    """

    id: str
    variant: str | None
    relation: Relation
    net: str
    measure: Measure
    published: float
    unit: str
    published_as: str
    data: str
    split: Split
    protocol: Protocol
    versus: str | None
    source: str
    section: str
    place: str
    confidence: Confidence
    bound: Bound
    note: str | None

    @property
    def value(self) -> float:
        """The number as the harness counts: percentages and their differences as fractions, the rest as it is."""
        return round(self.published / 100, 8) if self.unit in ("percent", "points") else self.published

    @property
    def images(self) -> str:
        """Data set and split, as "ILSVRC-2012 val"; the data set alone where the source names no split."""
        return self.data if self.split == "none" else f"{self.data} {self.split}"

    @property
    def verified(self) -> bool:
        """Whether the number was read in its primary source or computed from numbers that were."""
        return self.confidence in ("source", "computed")


@value
class ArticleClaim:
    """One statement of the article about AlexNet, in our words, and what the sources say to it.

    variants: the rows of the catalogue that try it out; empty where nothing needs to be trained.
    check: how else it can be decided ("a unit test", "arithmetic"), or None.
    """

    number: int
    says: str
    verdict: Literal["true", "false", "partly", "unclear"]
    evidence: str
    variants: tuple[str, ...] = ()
    check: str | None = None
    claims: tuple[str, ...] = ()


@value
class ClaimTest:
    """A comparison that bears on a claim of the paper: `variant` minus (or over) `versus` in one measure and protocol.

    target: id of the published number that it expects. `expected` and `bound` come from there and are not typed.
    expected: as printed, in percent, points or a plain number; None where only the sign is claimed.
    bound: what the paper says of the measured number and `expected` (0 where expected is None).
    """

    variant: str
    versus: str | None
    measure: str
    unit: str
    protocol: Protocol
    target: str | None = None
    bound: Bound = "equals"
    expected: float | None = None


@value
class PaperClaim:
    """A quantitative claim of the 2012 paper and what it takes to decide it.

    targets: ids of the published numbers that state the claim; `paper_claims()` makes a test of each.
    tests: comparisons in measures that no published number has.
    data: the images it is about; where `targets` say it, `paper_claims()` fills it in.
    decided_by: "arithmetic" needs no run; "training" needs the data named in `needs`; "outside" is beyond one network.
    small_scale: what a small run can show, which is a direction and never the published size.
    """

    number: int
    id: str
    section: str
    statement: str
    data: str = ""
    decided_by: Literal["arithmetic", "training", "outside"]
    targets: tuple[str, ...] = ()
    tests: tuple[ClaimTest, ...] = ()
    needs: str
    small_scale: str | None
    note: str | None = None
    claims: tuple[str, ...] = ()
