"""The figure on the first page: each variant's difference to the base, beside the published
difference.
"""

from __future__ import annotations

import pandas as pd

from harness.report import figures
from harness.report.data import ReportData
from harness.report.model import Figure


def overview(report: ReportData) -> Figure | None:
    """For the setting with the most runs; None where no two of its variants have a common seed."""
    if not report.evidence.settings:
        return None
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
