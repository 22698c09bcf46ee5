"""The frames hold every statistic once, in any order of the records, and each file of a record is read once."""

from __future__ import annotations

import doctest
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from study_records import Study

import harness
from harness.records import files, record
from harness.records.store import Store
from harness.report import cached, evidence
from harness.report.build import build, report_data
from harness.report.stats import finite_test_set

ROOT = Path(__file__).parents[2]


def test_the_frames_do_not_depend_on_the_order_of_the_records(finished: Study):
    records = Store(finished.root).records()
    forward, backward = (report_data("test", given, ()) for given in (records, records[::-1]))
    assert_frame_equal(forward.comparisons, backward.comparisons)
    assert_frame_equal(forward.runs, backward.runs)
    assert_frame_equal(forward.speeds, backward.speeds)


def test_a_comparison_is_the_mean_of_the_runs_differences(finished: Study):
    report = report_data("test", Store(finished.root).records(), ())
    runs = report.runs[(report.runs["setting"] == 1) & (report.runs["protocol"] == "mirror")]
    errors = runs.pivot_table(index="seed", columns="variant", values="top5_error")
    frame = report.comparisons
    row = frame[
        (frame["variant"] == "no_lrn")
        & (frame["versus"] == "grouped_2gpu")
        & (frame["metric"] == "top5_error")
        & (frame["protocol"] == "mirror")
    ]
    assert row["mean"].tolist() == pytest.approx([(errors["no_lrn"] - errors["grouped_2gpu"]).mean()])
    assert row["n"].tolist() == [3]


def test_one_row_per_comparison_and_a_verdict_under_one_protocol_only(finished: Study):
    frame = harness.load_comparisons(finished.root)
    identity = ["setting", "variant", "versus", "metric", "protocol"]
    assert not frame.duplicated(identity).any()
    judged = frame[frame["verdict"].notna()]
    assert not judged.duplicated(["setting", "variant", "versus", "metric"]).any()
    assert judged["published"].notna().all()
    assert frame.loc[frame["n"] == 1, ["sd", "seeds_low", "seeds_high"]].isna().all(axis=None)


def test_runs_set_aside_are_in_no_setting_and_have_a_reason(finished: Study):
    runs = report_data("test", Store(finished.root).records(), ()).runs
    aside = runs[runs["setting"] == 0]
    assert aside["variant"].tolist() == ["one_weird_trick"]
    assert aside["set_aside"].str.startswith("failed: ").all()
    assert runs.loc[runs["setting"] > 0, "set_aside"].isna().all()


def test_a_report_reads_each_file_of_a_record_once(finished: Study, monkeypatch: pytest.MonkeyPatch):
    store = Store(finished.root)
    own, reference = store.records(), store.verified_reference().records
    reads: Counter[Path] = Counter()
    original = files.open_plain

    def counted(path: Path):
        reads[path] += 1
        return original(path)

    monkeypatch.setattr(files, "open_plain", counted)
    monkeypatch.setattr("harness.records.lines.open_plain", counted)
    build("reproduce", own, reference)
    assert {path: times for path, times in reads.items() if times > 1} == {}
    per_record = Counter(path.parent for path in reads)
    assert max(per_record.values()) <= 8  # 4 files of bits, events, telemetry, conv1, SHA256SUMS
    assert (record.read_whole, cached.read_whole) == (files.read_whole, files.read_whole)


def test_a_comparison_is_computed_once_per_report(finished: Study, monkeypatch: pytest.MonkeyPatch):
    asked: Counter[tuple[object, ...]] = Counter()
    original = evidence.Setting._compare

    def counted(self: evidence.Setting, *what: object):
        asked[id(self), *what] += 1
        return original(self, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(evidence.Setting, "_compare", counted)
    build("reproduce", Store(finished.root).records())
    assert asked
    assert max(asked.values()) == 1


@pytest.mark.parametrize(("wrong", "images"), [(0, 100), (7, 100), (1600, 10_000), (2000, 2000)])
def test_the_interval_of_one_network_is_scipys_wilson_interval(wrong: int, images: int):
    from scipy.stats import binomtest

    known = binomtest(wrong, images).proportion_ci(0.95, method="wilson")
    ours = finite_test_set(wrong / images, images)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=1e-12)


def test_the_example_in_the_readme_of_results_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with pd.option_context("display.width", 80, "display.max_columns", None):
        found = doctest.testfile(str(ROOT / "results" / "README.md"), module_relative=False)
    assert found.attempted > 3
    assert found.failed == 0


def test_importing_harness_loads_no_pandas():
    import subprocess
    import sys

    code = "import sys, harness; sys.exit(sorted({'pandas', 'numpy', 'torch'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
