"""`ReportModel`: a report as a value, with sections of plain text, tables of strings, and figures as
bytes.

Markdown and PDF are both written from this value, so they have the same contents. No string here is
markup.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from harness.records.schema import Refused
from harness.tables import Table
from variants.values import value


@value
class Paragraph:
    """Prose. A `lead` introduces the block that follows, and is kept on one page with it."""

    kind: Literal["paragraph"] = "paragraph"
    text: str
    lead: bool = False


@value
class Bullets:
    """A list of short statements."""

    kind: Literal["bullets"] = "bullets"
    items: tuple[str, ...]


@value
class Commands:
    """Commands to type in a terminal."""

    kind: Literal["commands"] = "commands"
    lines: tuple[str, ...]


@value
class Figure:
    """`file` is its name under figures/; `alt` describes the image in words."""

    kind: Literal["figure"] = "figure"
    file: str
    caption: str
    alt: str
    content: bytes


Block: TypeAlias = Paragraph | Bullets | Commands | Table | Figure


@value
class Section:
    """A heading and its blocks."""

    title: str
    blocks: tuple[Block, ...]


@value
class Source:
    """A record the report was made from; `checksums` is the sha256 of its SHA256SUMS, which covers
    every file.
    """

    run_id: str
    spec_digest: str
    checksums: str
    origin: Literal["own", "reference"]


@value
class ReportModel:
    """`findings` are the sentences at the top of the report; the last lines of the command print them,
    too.

    results_table: the table of README.md; None without finished runs. refused: records that no number
    rests on. benches: the records of speeds that are shown.
    """

    study: str
    title: str
    findings: tuple[str, ...]
    overview: Figure | None = None
    sections: tuple[Section, ...]
    results_table: Table | None
    sources: tuple[Source, ...]
    refused: tuple[Refused, ...] = ()
    benches: tuple[Source, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        in_sections = (
            block for section in self.sections for block in section.blocks if isinstance(block, Figure)
        )
        return tuple(in_sections) if self.overview is None else (self.overview, *in_sections)
