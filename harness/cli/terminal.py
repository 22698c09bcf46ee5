"""Prints a table of the harness in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.tables import Table

if TYPE_CHECKING:
    from rich.console import Console


def print_table(console: Console, table: Table, start: int = 0) -> None:
    """The table with its caption above, from column `start` on, then its notes."""
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(title=escape(table.caption), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[start:]:
        numbers = column.align == "right"
        grid.add_column(escape(column.heading), justify=column.align, no_wrap=numbers, overflow="fold")
    for row in table.rows:
        grid.add_row(*(escape(cell) for cell in row[start:]))
    console.print(grid)
    for number, note in enumerate(table.notes, 1):
        console.print(f"[{number}] {note}", markup=False, highlight=False)
    console.print()
