"""A variant of an installed package is in a report, in its check and in a notebook's frame with what its row says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from study_records import RECIPE, Study

import harness
from harness.cli import reports
from harness.records.store import Store
from harness.report.check import check_report
from variants import plugins
from variants.catalog import CATALOG
from variants.recipes import apply

MODULE = """
from variants.catalog import PAPER, Variant

ROW = Variant(
    name="without_decay",
    family="paper",
    meaning="no weight decay",
    source="this test",
    expects="a higher error",
    spec=PAPER,
    recipe_changes=(("weight_decay", 0.0),),
)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package has an entry point, and this process has not looked for any yet."""
    before = dict(CATALOG)
    (tmp_path / "package_of_this_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mine", "package_of_this_test:ROW", "alexnet_harness.variants")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    plugins.register.cache_clear()
    yield tmp_path
    CATALOG.clear()
    CATALOG.update(before)
    plugins.register.cache_clear()


def in_a_new_process() -> None:
    """Forget the rows, as a process that has just started."""
    CATALOG.pop("without_decay", None)
    plugins.register.cache_clear()


def test_a_report_its_check_and_the_frame_know_the_row(installed: Path, study: Study):
    base = study.spec("grouped_2gpu", 0)
    study.run(base, 0.16)
    recipe = apply(RECIPE, (("weight_decay", 0.0),))
    study.run(replace(base, variant="without_decay", recipe=recipe), 0.2)
    reports.write("reproduce", Store(study.root).records(), (), (), out=installed)
    text = (installed / "reproduce" / "report.md").read_text()
    assert "2 runs of 2 variants finished" in text  # one setting, since the row says what it changed
    in_a_new_process()
    assert check_report(installed / "reproduce", Store(study.root), reports.descriptions()) == []
    in_a_new_process()
    assert harness.load_comparisons(study.root)["setting"].unique().tolist() == [1]
