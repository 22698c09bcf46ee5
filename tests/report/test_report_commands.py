"""`report` and `verify-report` from the outside: last lines, exit codes, and no torch for --help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from study_records import Study
from typer.testing import CliRunner

from harness.cli import reports
from harness.errors import UsageError

app = typer.Typer()
app.command("report")(reports.report)
app.command("verify-report")(reports.verify_report)


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_last_lines_say_what_was_found_and_where_it_is(finished: Study, tmp_path: Path):
    code, text = run("report", "--results", str(finished.root), "--out", str(tmp_path))
    lines = text.strip().splitlines()
    assert code == 0
    assert lines[-1] == f"report: {tmp_path}/reproduce/report.md and {tmp_path}/reproduce/report.pdf"
    assert any("10 runs of 4 variants" in line for line in lines)
    assert (tmp_path / "reproduce" / "report.pdf").is_file()


def test_a_report_on_the_reference_records_can_be_written_and_checked(finished: Study, tmp_path: Path):
    results = ("--results", str(finished.root))
    code, text = run("report", "--reference", *results, "--out", str(tmp_path))
    assert code == 0
    assert "1 run of 1 variant" in text
    code, text = run("verify-report", str(tmp_path / "reproduce"), *results)
    assert (code, text.startswith("ok: ")) == (0, True)
    (tmp_path / "reproduce" / "report.pdf").write_bytes(b"x")
    code, text = run("verify-report", str(tmp_path / "reproduce"), *results)
    assert (code, text.strip()) == (1, "report.pdf: differs from what was written")


def test_one_report_on_two_studies_has_the_records_of_both(finished: Study, tmp_path: Path):
    results = ("--results", str(finished.root))
    code, text = run("report", "reproduce", "catalogue", *results, "--out", str(tmp_path))
    assert (code, "10 runs of 4 variants" in text) == (0, True)  # each record once
    folder = tmp_path / "reproduce+catalogue"
    assert "the studies reproduce and catalogue" in (folder / "report.md").read_text()
    code, text = run("verify-report", str(folder), *results)
    assert (code, text.startswith("ok: ")) == (0, True)


def test_an_unknown_study_gets_a_suggestion(finished: Study, tmp_path: Path):
    with pytest.raises(UsageError, match=r"no study 'reproduc'\. Did you mean 'reproduce'"):
        run("report", "reproduc", "--results", str(finished.root), "--out", str(tmp_path))


def test_the_commands_load_nothing_heavy_before_they_run():
    heavy = "{'torch', 'numpy', 'pandas', 'timm', 'seaborn', 'scipy', 'typst', 'jinja2'}"
    code = f"import sys, harness.cli.reports; sys.exit(sorted(set(sys.modules) & {heavy}) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
