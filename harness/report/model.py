"""The report before it has a look: sections of plain text, tables of finished strings, figures as bytes.

Markdown and PDF are two thin views of this one value, so they can't disagree. No string here is markup.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

from variants.values import value


@value
class Paragraph:
    """Prose. A `lead` introduces the block that follows, and is kept on one page with it."""

    kind: Literal["paragraph"] = "paragraph"
    text: str
    lead: bool = False


@value
class Bullets:
    """Short statements of equal rank."""

    kind: Literal["bullets"] = "bullets"
    items: tuple[str, ...]


@value
class Commands:
    """Lines for a terminal."""

    kind: Literal["commands"] = "commands"
    lines: tuple[str, ...]


@value
class Column:
    """Columns with a `share` hold prose and divide the width that the others leave, in proportion."""

    heading: str
    align: Literal["left", "right"] = "left"
    share: int = 0


@value
class Table:
    """Every row has one finished string a column; `notes` stand below the table."""

    kind: Literal["table"] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table '{self.caption}': {len(row)} cells under {len(self.columns)} headings: {row}")

    def without_empty(self, empty: str) -> Table:
        """The same without the columns in which every cell is `empty`."""
        kept = [i for i in range(len(self.columns)) if any(row[i] != empty for row in self.rows)]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )


@value
class Figure:
    """`file` is its name under figures/; `alt` says in words what is to be seen."""

    kind: Literal["figure"] = "figure"
    file: str
    caption: str
    alt: str
    content: bytes


Block: TypeAlias = Paragraph | Bullets | Commands | Table | Figure


@value
class Section:
    """One heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@value
class Source:
    """A record the report was made from; `checksums` is the sha256 of its SHA256SUMS, which covers every file."""

    run_id: str
    spec_digest: str
    checksums: str
    origin: Literal["own", "reference"]


@value
class ReportModel:
    """`found` are the sentences for whoever reads nothing else; the last lines of the command print them too."""

    study: str
    title: str
    found: tuple[str, ...]
    sections: tuple[Section, ...]
    headline: Table | None  # the table of README's first screen; None without finished runs
    sources: tuple[Source, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, Figure))
