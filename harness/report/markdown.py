"""Writes the report as Markdown: report.md, and the results in README.md."""

from __future__ import annotations

import re
from collections.abc import Iterable
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


def readme_results(models: Iterable[ReportModel]) -> str:
    """What stands between the markers of README.md: of each study the table of results, or the
    findings and the figure of its first page. Studies without a result are left out.
    """
    shown = [text for model in models if (text := _result(model))]
    return "\n\n".join((BEGIN, *(shown or ["No finished run yet."]), END))


def _result(model: ReportModel) -> str:
    if model.results_table is not None:
        return _with_notes(model.results_table)
    if model.overview is None:
        return ""
    figure, folder = model.overview, f"reports/reference/{model.study}"
    return "\n\n".join(
        (
            "\n".join(f"* {plain(finding)}" for finding in model.findings),
            f"![{plain(figure.alt)}]({folder}/figures/{figure.file})",
            f"{plain(figure.caption)} The whole study: [report.md]({folder}/report.md).",
        )
    )


def _with_notes(made: Table) -> str:
    return "\n\n".join([table_grid(made), *map(plain, made.notes)])
