"""The tables of a report as CSV and LaTeX."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.report.model import ReportModel
from harness.report.table_files import _escape, write_tables
from harness.tables import Table


def test_every_table_is_written_twice_with_the_cells_of_the_report(
    model: ReportModel, tmp_path: Path
) -> None:
    tables = [
        block for section in model.sections for block in section.blocks if isinstance(block, Table)
    ]
    paths = write_tables(model, tmp_path / "tables")
    assert len(paths) == len(set(paths)) == 2 * len(tables)
    first = next(path for path in paths if "errors" in path.name and path.suffix == ".csv")
    with first.open(encoding="utf-8", newline="") as file:
        headings, *rows = csv.reader(file)
    shown = next(table for table in tables if table.headings == tuple(headings))
    assert [tuple(row) for row in rows] == list(shown.rows)
    latex = first.with_suffix(".tex").read_text(encoding="utf-8")
    assert r"no\_lrn" in latex
    assert r"$\pm$" in latex
    assert r"\toprule" in latex


def test_every_sign_that_latex_reads_is_escaped() -> None:
    assert (
        _escape(r"50 % of a_b & {c} > \d~")
        == r"50 \% of a\_b \& \{c\} $>$ \textbackslash{}d\textasciitilde{}"
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(model: ReportModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"^can't write the tables to .*file: "):
        write_tables(model, tmp_path / "file")
