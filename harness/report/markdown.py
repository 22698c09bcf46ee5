"""Writes the report as Markdown: report.md, and the table in README.md."""

from __future__ import annotations

import re
from importlib import resources

from jinja2 import Environment, StrictUndefined

from harness.markdown import plain, table_grid
from harness.report.model import ReportModel
from harness.tables import Table

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def report_markdown(model: ReportModel) -> str:
    """report.md."""
    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(plain=plain, table=table_grid)
    source = (
        resources.files("harness.report").joinpath("templates/report.md.j2").read_text(encoding="utf-8")
    )
    text = environment.from_string(source).render(model=model)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def readme_table(model: ReportModel) -> str:
    """The table of results between the markers of README.md."""
    body = "No finished run yet." if model.results_table is None else _with_notes(model.results_table)
    return f"{BEGIN}\n{body}\n{END}"


def _with_notes(made: Table) -> str:
    return "\n\n".join([table_grid(made), *map(plain, made.notes)])
