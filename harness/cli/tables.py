"""Tables and JSON on the terminal. rich is loaded when the first table is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def print_json(item: Any) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(item, indent=2, allow_nan=False))


def new_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; columns named in `right` are right-aligned, and the first one is never
    wrapped.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True
    )
    for i, name in enumerate(columns):
        table.add_column(
            name, justify="right" if name in right else "left", no_wrap=i == 0, overflow="fold"
        )
    return table


def print_table(table: Table) -> None:
    """Print a table to stdout."""
    from rich.console import Console

    Console().print(table, markup=False, highlight=False)
