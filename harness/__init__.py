"""Runs of AlexNets: data, training, probes, records and reports. The networks themselves are in `variants`.

For notebooks: `load_runs` and `load_comparisons` return sealed records as pandas frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_comparisons", "load_runs"]
__version__ = "0.1.0"


def load_runs(folder: Path | str) -> pd.DataFrame:
    """One row per run and protocol of the sealed records directly under `folder`, in the order of run_id.

    Column names include units (results/README.md lists them); errors are fractions. Raises RecordError for a record
    that can't be read.
    """
    from harness.records.store import Store
    from harness.records.tables import runs_table

    return runs_table(Store(Path(folder)).records())


def load_comparisons(folder: Path | str) -> pd.DataFrame:
    """One row per setting, variant, versus, metric and protocol of the sealed records directly under `folder`.

    Mean error or difference, intervals, published value and verdict, as the report shows them (results/README.md lists
    the columns). Errors are fractions. Raises RecordError for a record that can't be read.
    """
    from harness.records.store import Store
    from harness.report.build import report_data

    return report_data("", Store(Path(folder)).records(), ()).comparisons
