"""Results folders for the tests of the report: an empty one, and a finished study that is only read."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_records import ERRORS, Study

from harness.records.store import Store
from harness.report.build import build
from harness.report.model import ReportModel


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "results")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Read only: three variants x three seeds, `ungrouped` with one seed, one failed run, one reference record."""
    study = Study(tmp_path_factory.mktemp("finished") / "results")
    for seed in range(3):
        for variant, error in ERRORS.items():
            study.run(study.spec(variant, seed), error)
    study.run(study.spec("ungrouped", 0), 0.15)
    study.fail(study.spec("one_weird_trick", 0), "the loss at step 12 is nan; a smaller rate may help")
    study.run(study.spec("grouped_2gpu", 7), 0.158, root=study.root / "reference" / "reproduce")
    return study


@pytest.fixture(scope="session")
def model(finished: Study) -> ReportModel:
    """The report on the finished study."""
    store = Store(finished.root)
    return build("reproduce", store.records(), store.verified_reference().records)
