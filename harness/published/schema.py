"""The types of published data: measurements, speeds and claims. The JSON files have the numbers as
printed.

Errors and accuracies are in percent and differences in percentage points, with the published digits
(.471 becomes 47.1). Code uses Target.value, where every error is a fraction.
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
# The meaning of a printed number: "about 2 points", "over 1 point" (more_than), "not more than 1 %"
# (at_most).
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


def fraction(percent: float) -> float:
    """A printed percentage, or a difference in points, in the harness's unit; 26.2 gives 0.262 and
    no 0.26199999.
    """
    return round(percent / 100, 8)


@value
class Source:
    """A source of numbers. `place` is a repository with its commit, an arXiv number or a page."""

    title: str
    place: str


@value
class Measurement:
    """One evaluation of one network: the numbers printed for it, under one protocol on one split.

    variant: the name in our catalogue, or None if no row is this network or tests it (`net` describes
    it).
    relation: "same" is exactly this network; "same_change" is the same change to another base network.
    stands_for: for a base network that is not a row: the row that it replaces in a "same_change".
    recipe: the name of one of our recipes, or a description of another one; None: the recipe of the row
    `variant`.
    baselines: ids of measurements that this one is compared with; the differences are computed.
    versus: the row that printed differences refer to; `values` are then differences (this minus that).
    claims: ids of the quantitative claims that this states; a claim may be stated in several data
    files.
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
    """A published statement without a number, such as a run that was stopped or an effect that was
    not measured.
    """

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
    """`images` trained on or evaluated in `seconds`, as published; printed images per second have
    `seconds` = 1.
    """

    images: float
    seconds: float

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


@value
class Speed:
    """One published speed. `timed` says what was timed; speeds can't be compared without it.

    high: the upper end if the source gives a range; `throughput` is then the lower end.
    headline: shown in the report; one or two for each generation of hardware.
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

    versus: None for an absolute value; else what is subtracted: a row, or the measurement of another
    net.
    published_as: the accuracy that an error was computed from, or the measure itself.
    source, section, place: the source's short name, the section in it, and where to find the source.
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
        """The number in the harness's units: percentages and their differences as fractions, all
        others unchanged.
        """
        return fraction(self.published) if self.unit in ("percent", "points") else self.published

    @property
    def images(self) -> str:
        """Data set and split, such as "ILSVRC-2012 val"; only the data set if the source names no
        split.
        """
        return self.data if self.split == "none" else f"{self.data} {self.split}"

    @property
    def verified(self) -> bool:
        """Whether the number was read in its primary source or computed from numbers that were."""
        return self.confidence in ("source", "computed")


@value
class ArticleClaim:
    """One statement of the article about AlexNet, in our words, and what the sources say about it.

    tested_by: the rows of the catalogue that test it; empty if nothing needs to be trained.
    check: another way to decide it ("a unit test", "arithmetic"), or None.
    """

    number: int
    says: str
    verdict: Literal["true", "false", "partly", "unclear"]
    evidence: str
    tested_by: tuple[str, ...] = ()
    check: str | None = None
    claims: tuple[str, ...] = ()


@value
class ClaimTest:
    """A comparison that tests a claim of the paper: `variant` minus (or over) `versus` in one measure
    and protocol.

    target: id of the published number, from which `expected` and `bound` are taken.
    expected: as printed, in percent, points or a plain number; None if the paper claims only the sign.
    bound: the claimed relation of the measured number to `expected` (to 0 if expected is None).
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
    """A quantitative claim of the 2012 paper and what is needed to decide it.

    targets: ids of the published numbers that state the claim; `paper_claims()` makes a test from each.
    tests: comparisons in measures without a published number.
    data: the images that the claim is about; `paper_claims()` takes it from `targets` if there are any.
    decided_by: "arithmetic" needs no run; "training" needs the data named in `needs`; "outside": the
    harness can't.
    small_scale: what a small run can show: a direction, but never the published size.
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
