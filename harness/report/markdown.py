"""The model as Markdown. Strings of the model are shown, never read as markup, whoever wrote them."""

from __future__ import annotations

import re
from importlib import resources

from jinja2 import Environment, StrictUndefined

from harness.report.model import ReportModel, Table

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
# An underscore within a word is no emphasis (GFM), so that variants keep their readable names.
SPECIAL = re.compile(r"([\\`*\[\]<>&|~$!])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
AUTOLINK = re.compile(r"(?i)\b(https?|ftp)://|\bwww\.")  # GFM links bare addresses
LINE_START = re.compile(r"^(\d+)([.)])(?= )|^([#+=-])")


def plain(text: str) -> str:
    """`text` as one paragraph or item, with everything escaped that Markdown or HTML would act on."""
    return LINE_START.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", inline(text))


def inline(text: str) -> str:
    """The same within a line, as in a table's cell, where a leading + or 1. means nothing."""
    one_line = " ".join(text.split())
    escaped = SPECIAL.sub(lambda found: "\\" + found.group(0), one_line)
    return AUTOLINK.sub(lambda found: found.group(0)[:-1] + "\\" + found.group(0)[-1], escaped)


def table(made: Table) -> str:
    """A pipe table; the caption and notes are the caller's."""
    rules = ["---:" if column.align == "right" else ":---" for column in made.columns]
    lines = [[inline(column.heading) for column in made.columns], rules]
    lines += [[inline(cell) for cell in row] for row in made.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report_markdown(model: ReportModel) -> str:
    """report.md."""
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(plain=plain, table=table)
    source = resources.files("harness.report").joinpath("templates/report.md.j2").read_text(encoding="utf-8")
    text = environment.from_string(source).render(model=model)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def readme_table(model: ReportModel) -> str:
    """The headline table between the markers that README keeps it in."""
    body = "No finished run yet." if model.headline is None else _with_notes(model.headline)
    return f"{BEGIN}\n{body}\n{END}"


def _with_notes(made: Table) -> str:
    return "\n\n".join([table(made), *map(plain, made.notes)])
