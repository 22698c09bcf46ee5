"""Every table of a report as CSV and as LaTeX, for papers and spreadsheets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from harness.errors import RecordError
from harness.report.model import ReportModel
from harness.tables import Table


def write_tables(model: ReportModel, folder: Path) -> list[Path]:
    """Write one .csv and one .tex file per table; returns the paths. Raises RecordError if the folder can't be written.

    The cells are those of the report, as text. LaTeX uses booktabs (\\usepackage{booktabs}).
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in _named(model):
            frame = pd.DataFrame(list(table.rows), columns=list(table.headings))
            for suffix, text in ((".csv", frame.to_csv(index=False)), (".tex", _latex(frame, table))):
                written.append(folder / f"{name}{suffix}")
                written[-1].write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"can't write the tables to {folder}: {error.strerror or error}") from error
    return written


def _named(model: ReportModel) -> Iterator[tuple[str, Table]]:
    """Each table with a file name: number of the section, first words of its title, number of the
    table in it.
    """
    for number, section in enumerate(model.sections, 1):
        words = re.findall(r"[a-z0-9]+", section.title.lower())[:4]
        tables = [block for block in section.blocks if isinstance(block, Table)]
        for place, table in enumerate(tables, 1):
            yield f"{number:02}-{'-'.join(words)}-{place}", table


def _latex(frame: pd.DataFrame, table: Table) -> str:
    escaped = frame.map(_escape)
    escaped.columns = [_escape(heading) for heading in table.headings]
    columns = "".join("r" if column.align == "right" else "l" for column in table.columns)
    return str(
        escaped.to_latex(
            index=False, escape=False, column_format=columns, caption=_escape(table.caption)
        )
    )


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
SPECIAL |= {"±": r"$\pm$", "\N{MINUS SIGN}": "$-$", "—": "---", ">": "$>$", "<": "$<$"}


def _escape(text: str) -> str:
    return "".join(SPECIAL.get(sign, sign) for sign in text)
