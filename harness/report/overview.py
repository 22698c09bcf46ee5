"""The figure on the first page: each variant's difference to the base, beside the published
difference; or, where the runs end at a training error, their curves.
"""

from __future__ import annotations

import pandas as pd

from harness.report import figures
from harness.report.data import ReportData
from harness.report.learning_speed import LearningSpeed
from harness.report.model import Figure
from harness.report.text import count, listed, percent


def overview(report: ReportData) -> Figure | None:
    """For the setting with the most runs; None where no two of its variants have a common seed.

    Without a setting: for the first images on which the ratio of figure 1 is known.
    """
    if not report.evidence.settings:
        speed = leading_speed(report)
        return None if speed is None else training_curves(speed)
    setting, found = report.evidence.settings[0], report.differences(1)
    found = found[found["versus"] == setting.base]
    if found.empty:
        return None
    points = pd.DataFrame(
        {
            "variant": found["variant"],
            **{
                name: 100 * found[name].astype(float)
                for name in ("mean", "seeds_low", "seeds_high", "published")
            },
        }
    )
    protocol = setting.main_protocol
    return Figure(
        file="differences.svg",
        caption=f"Top-1 error minus that of {setting.base}, in points: to the right of 0 is worse. "
        f"Filled: measured here ({setting.key.data.name}, {setting.key.geometry} geometry, "
        f"{setting.key.length}, {protocol}), with the 95 % interval over seeds if there are several. "
        "Hollow: published, on its own images.",
        alt=f"Differences of top-1 error to {setting.base}, measured and published, one row per "
        "variant.",
        content=figures.forest(points),
    )


def leading_speed(report: ReportData) -> LearningSpeed | None:
    """The runs to a training error whose curves are on the first page."""
    known = (speed for speed in report.evidence.learning_speeds if speed.ratio() is not None)
    return None if report.evidence.settings else next(known, None)


def training_curves(speed: LearningSpeed) -> Figure | None:
    """Figure 1 of the paper: the curves of the counted runs at each network's best rate; None before
    there are any.
    """
    best = [at for name in speed.variants if (at := speed.best(name)) is not None]
    rows = [
        {
            "variant": run.variant,
            "run_id": run.run_id,
            "epoch": point.epoch,
            "error_percent": 100 * point.error,
        }
        for at in best
        for run in at.runs
        for point in run.curve
    ]
    if not rows:
        return None
    shown = listed(
        [f"{at.variant} (learning rate {at.rate:g}, {count(len(at.runs), 'seed')})" for at in best]
    )
    return Figure(
        file=f"training-error-{'-'.join(at.variant for at in best)}.svg",
        caption=f"Top-1 error on the training images over epochs, a line per run: {shown}. The dashed "
        f"line is {percent(speed.threshold, 0)} %, as in the paper's figure 1.",
        alt="Training error over epochs for " + " and ".join(at.variant for at in best),
        content=figures.training_errors(pd.DataFrame(rows), 100 * speed.threshold),
    )
