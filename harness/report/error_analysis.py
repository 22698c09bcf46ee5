"""Which classes and images the networks of a setting get wrong, and whether their probabilities can
be believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.records.schema import Analysis
from harness.report.setting import Setting

MOST_VARIANTS = 6  # columns of a table


@dataclass(frozen=True)
class ErrorAnalysis:
    """Of one setting, under the first protocol, means over seeds. Errors are fractions.

    class_errors: (classes,) by variant. confusion: (classes, classes) of the base, fractions of the
    label's images; None with too many classes. calibration_error: by variant, see
    `expected_calibration_error`.
    confidence: by variant, the mean probability of the answer. always_wrong: images that every seed of
    the base gets wrong, and how many there would be if each seed erred on images of its own.
    """

    protocol: str
    base: str
    classes: tuple[str, ...]
    class_errors: Mapping[str, NDArray[np.float64]]
    confusion: NDArray[np.float64] | None
    calibration_error: Mapping[str, float]
    confidence: Mapping[str, float]
    seeds: int
    always_wrong: int
    always_wrong_by_chance: float


def analyse(setting: Setting) -> ErrorAnalysis | None:
    """None where a record has no analysis, as older ones."""
    shown = setting.first(MOST_VARIANTS)
    found = {name: [record.analysis() for record in setting.runs[name].values()] for name in shown}
    known = {name: [one for one in some if one is not None] for name, some in found.items()}
    if any(len(known[name]) < len(found[name]) for name in shown):
        return None
    first = known[setting.base][0]
    if any(
        one.classes != first.classes or one.protocol != first.protocol
        for some in known.values()
        for one in some
    ):
        return None
    rates = {name: [_rates(one) for one in some] for name, some in known.items()}
    answers = [record.correct(first.protocol, 1) for record in setting.runs[setting.base].values()]
    wrong = [~right for right in answers]
    return ErrorAnalysis(
        protocol=first.protocol,
        base=setting.base,
        classes=first.classes,
        class_errors={
            name: np.mean([1.0 - np.diag(rate) for rate in some if rate is not None], axis=0)
            for name, some in rates.items()
            if all(rate is not None for rate in some)
        },
        confusion=_mean(rates[setting.base]),
        calibration_error={
            name: float(np.mean([expected_calibration_error(one) for one in some]))
            for name, some in known.items()
        },
        confidence={
            name: float(np.mean([_confidence(one) for one in some])) for name, some in known.items()
        },
        seeds=len(answers),
        always_wrong=int(np.logical_and.reduce(wrong).sum()),
        always_wrong_by_chance=float(len(wrong[0]) * np.prod([one.mean() for one in wrong])),
    )


def expected_calibration_error(found: Analysis) -> float:
    """Mean over images of |fraction right - mean probability| of the image's bin (Guo et al. 2017,
    eq. 3).
    """
    total = sum(each.images for each in found.calibration)
    gaps = [
        each.images * abs(each.right - each.confidence)
        for each in found.calibration
        if each.right is not None and each.confidence is not None
    ]
    return sum(gaps) / total if total else 0.0


def _confidence(found: Analysis) -> float:
    total = sum(each.images for each in found.calibration)
    return (
        sum(each.images * (each.confidence or 0.0) for each in found.calibration) / total
        if total
        else 0.0
    )


def _rates(found: Analysis) -> NDArray[np.float64] | None:
    """The confusion matrix in fractions of each label's images."""
    if found.confusion is None:
        return None
    counts = np.asarray(found.confusion, dtype=np.float64)
    made: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return made


def _mean(rates: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [rate for rate in rates if rate is not None]
    return np.mean(known, axis=0) if len(known) == len(rates) else None
