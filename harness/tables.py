"""`Table`: a caption, columns and rows of text. Markdown, PDF and the terminal show the same value."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from variants.values import value


@value
class Column:
    """A heading and the alignment of its cells.

    share: relative width of a column of prose; these columns divide the width that is left. 0: as wide
    as its longest cell.
    """

    heading: str
    align: Literal["left", "right"] = "left"
    share: int = 0


@value
class Table:
    """A caption, columns and rows. Every row has one finished string per column; `notes` are printed
    below the table.

    Raises ValueError if a row's number of cells differs from the number of columns.
    """

    kind: Literal["table"] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table '{self.caption}': {len(row)} cells under {len(self.columns)} headings: "
                    f"{row}"
                )

    @property
    def headings(self) -> tuple[str, ...]:
        return tuple(column.heading for column in self.columns)

    def without_empty(self, empty: str) -> Table:
        """The table without columns in which every cell is `empty`."""
        kept = [i for i in range(len(self.columns)) if any(row[i] != empty for row in self.rows)]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )
