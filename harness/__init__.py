"""Runs of AlexNets: data, training, probes, records and reports. The networks themselves are in
`variants`.

For notebooks: `load_runs` and `load_comparisons` return sealed records as pandas frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from harness.records.store import RunRecord, Store

__all__ = ["__version__", "load_comparisons", "load_runs"]


def load_runs(folder: Path | str) -> pd.DataFrame:
    """One row per run and protocol of the sealed records directly under `folder`, in the order of
    run_id.

    Columns have their units in their names (results/README.md lists them); errors are fractions. A
    record that can't be read, or is not as it was sealed, is left out with a UserWarning that says why.
    """
    from harness.records.store import Store
    from harness.records.tables import runs_table

    return runs_table(_verified(Store(Path(folder))))


def load_comparisons(folder: Path | str) -> pd.DataFrame:
    """One row per setting, variant, versus, metric and protocol of the sealed records directly under
    `folder`.

    Mean error or difference, intervals, published value and verdict, as the report shows them
    (results/README.md lists the columns); errors are fractions. A record that can't be read, or is not
    as it was sealed, is left out with a UserWarning that says why.
    """
    from harness.records.store import Store
    from harness.report.build import report_data

    return report_data("", _verified(Store(Path(folder))), ()).comparisons


def _verified(store: Store) -> list[RunRecord]:
    import warnings

    records, refused = store.verified()
    for one in refused:
        warnings.warn(f"{one.run_id} is left out: {one.reason}", stacklevel=3)
    return records
