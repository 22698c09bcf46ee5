"""Writes text and tables as Markdown.

All strings are escaped, so that none is interpreted as markup.
"""

from __future__ import annotations

import re

from harness.tables import Table

# In GFM an underscore inside a word is not emphasis, so names of variants need no escapes.
SPECIAL = re.compile(r"([\\`*\[\]<>&|~$!])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
AUTOLINK = re.compile(r"(?i)\b(https?|ftp)://|\bwww\.")  # GFM turns bare addresses into links
LINE_START = re.compile(r"^(\d+)([.)])(?= )|^([#+=-])")


def plain(text: str) -> str:
    """`text` as one paragraph or list item; all markup of Markdown and HTML is escaped."""
    return LINE_START.sub(
        lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", inline(text)
    )


def inline(text: str) -> str:
    """`text` within a line, such as a table's cell, where a leading + or 1. is not markup."""
    one_line = " ".join(text.split())
    escaped = SPECIAL.sub(lambda found: "\\" + found.group(0), one_line)
    return AUTOLINK.sub(lambda found: found.group(0)[:-1] + "\\" + found.group(0)[-1], escaped)


def table_grid(table: Table) -> str:
    """The columns and rows as a pipe table; the caller writes caption and notes."""
    rules = ["---:" if column.align == "right" else ":---" for column in table.columns]
    lines = [[inline(heading) for heading in table.headings], rules]
    lines += [[inline(cell) for cell in row] for row in table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
