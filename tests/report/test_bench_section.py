"""The report on measured speeds: its numbers, the projection with its arithmetic, and that it can be checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench_records import NO_POWER, STEP, sealed
from study_records import Study

from harness.cli import reports
from harness.records.bench import RESULT, load_benches
from harness.records.files import SUMS, sums_text
from harness.records.store import Store
from harness.report.build import build
from harness.report.check import check_report
from harness.report.markdown import report_markdown
from harness.report.render import write_report
from harness.report.sections.bench import EPOCHS, IMAGES, TITLE
from harness.spec import RunSpec
from variants.catalog import CATALOG
from variants.geometry import spec_for


def text_of(root: Path) -> str:
    """The section as Markdown."""
    said = report_markdown(build("reproduce", [], benches=load_benches(root)[0]))
    assert TITLE in said
    return said[said.index(TITLE) :]


def full_size(root: Path) -> RunSpec:
    net = spec_for(CATALOG["grouped_2gpu"], "full")
    return replace(Study(root).spec("grouped_2gpu", 0), net=net, geometry="full")


def test_without_records_of_speeds_there_is_no_section(tmp_path: Path) -> None:
    assert TITLE not in report_markdown(build("reproduce", []))


def test_the_section_has_loader_step_and_both_and_what_limits_them(tmp_path: Path) -> None:
    sealed(tmp_path, "pipeline")
    said = text_of(tmp_path)
    assert (
        "| 2,000 (1,800 to 2,500) | 3,000 (2,700 to 3,750) | 1,000 (900 to 1,250) | step | 2,000 |"
        in said
    )
    assert "Medians of 9 windows" in said
    assert "holds it in 96 % of cases or more" in said


def test_peers_have_ratios_per_cpu_second_and_reasons_where_they_lack(tmp_path: Path) -> None:
    sealed(tmp_path, "step", missing={"gpu_j_per_image": NO_POWER, "torch_compile": "no compiler"})
    sealed(tmp_path, "loader")
    said = text_of(tmp_path)
    assert "| torchvision_pil | 2,000 | 4,000 | 7.12 | 3.00 (2.50 to 3.50) |" in said
    assert "Not measured: torch_compile: no compiler." in said


def test_the_roofline_has_its_table_and_figure(tmp_path: Path) -> None:
    sealed(tmp_path, "roofline")
    said = text_of(tmp_path)
    assert "| conv1 | 5,000.0 | 1,000.0 | 10.0 | 100.00 | 100.0 | arithmetic | 80.00 | 80 |" in said
    assert "(figures/roofline-1.svg)" in said


def test_no_cost_is_projected_from_small_images(tmp_path: Path) -> None:
    sealed(tmp_path, "step")
    said = text_of(tmp_path)
    assert "can't be projected: no speed was measured with images of full size" in said
    assert "Projection:" not in said


def test_the_projection_shows_its_arithmetic_and_why_there_is_no_energy(tmp_path: Path) -> None:
    sealed(tmp_path, "step", full_size(tmp_path))
    said = text_of(tmp_path)
    hours = EPOCHS * IMAGES / 1000 / 3600
    assert f"| {hours:.1f} ({hours / 1.25:.1f} to {hours / 0.9:.1f}) | — |" in said
    assert "A projection, not a measurement" in said
    assert "90 x 1,281,167 images / 1,000.0 images/s / 3,600 s = 32.0 h" in said
    assert f"no energy: {NO_POWER}." in said


def test_with_power_the_projection_has_kilowatt_hours(tmp_path: Path) -> None:
    sealed(tmp_path, "step", full_size(tmp_path), values={**STEP, "gpu_j_per_image": 0.25}, missing={})
    kwh = 90 * 1_281_167 * 0.25 / 3.6e6
    assert f"| {kwh:.2f} |" in text_of(tmp_path)
    assert f"x 0.2500 J / 3,600,000 J = {kwh:.2f} kWh" in text_of(tmp_path)


def test_an_unsteady_or_shared_measurement_is_said_to_be_doubtful(tmp_path: Path) -> None:
    record = sealed(
        tmp_path, "step", steady=False, notes={"foreign_process": "another process computed"}
    )
    said = text_of(tmp_path)
    assert f"without a steady state, so they are doubtful: {record.path.name}" in said
    assert "another process computed." in said


def test_only_the_newest_record_of_a_kind_is_shown(tmp_path: Path) -> None:
    first, second = sealed(tmp_path, "step"), sealed(tmp_path, "step")
    model = build("reproduce", [], benches=load_benches(tmp_path)[0])
    assert [source.run_id for source in model.benches] == [second.path.name]
    assert first.path.name != second.path.name


def test_a_report_with_speeds_is_written_checked_and_refused_when_they_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = tmp_path / "results", tmp_path / "reports"
    for kind in ("step", "loader", "pipeline", "roofline"):
        sealed(results, kind)  # type: ignore[arg-type]
    model = reports.write("reproduce", [], [], (), out=out, results=results)
    assert len(model.benches) == 4
    folder, store = out / "reproduce", Store(results)
    assert check_report(folder, store, reports.descriptions()) == []
    (bench,) = [path for path in (results / "bench").iterdir() if "-loader-" in path.name]
    sums = bench / "SHA256SUMS"
    sums.chmod(0o644)
    sums.write_text(sums.read_text().replace("a", "b", 1))
    (problem, *_) = check_report(folder, store, reports.descriptions())
    assert problem.startswith(f"{bench.name}: ")
    again = reports.write("reproduce", [], [], (), out=out, results=results)
    assert [one.run_id for one in again.refused] == [bench.name]
    assert f"{bench.name} is left out" in capsys.readouterr().err


def test_a_record_of_speeds_that_was_sealed_anew_is_not_the_one_of_the_report(tmp_path: Path) -> None:
    bench = sealed(tmp_path / "results", "step")
    reports.write("reproduce", [], [], (), out=tmp_path, results=tmp_path / "results")
    for name in (RESULT, SUMS):
        (bench.path / name).chmod(0o644)
    other = (bench.path / RESULT).read_text().replace('"forward_ms": 20.0', '"forward_ms": 10.0')
    (bench.path / RESULT).write_text(other)
    (bench.path / SUMS).write_text(sums_text(bench.path))
    problems = check_report(tmp_path / "reproduce", Store(tmp_path / "results"), reports.descriptions())
    assert problems == [f"{bench.path.name}: not the record that the report was made from"]


def test_a_report_without_speeds_has_no_trace_of_them(tmp_path: Path) -> None:
    write_report(build("reproduce", []), tmp_path)
    assert "benches" not in (tmp_path / "manifest.json").read_text()
