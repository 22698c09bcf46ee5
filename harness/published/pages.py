"""Writes the Markdown pages in reports/published/.

A test checks that the committed pages are up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.markdown import plain, table_grid
from harness.published.claims import article, paper_claims
from harness.published.history import speeds
from harness.published.load import remarks, sources
from harness.published.schema import Speed
from harness.published.tables import READ, tables
from harness.published.targets import targets
from harness.tables import Column, Table
from harness.variant_diff import Difference, Trained, differences
from variants.catalog import CATALOG, FAMILIES, native_recipe


def targets_page() -> str:
    """Published numbers for each family of rows and for other networks, with speeds and sources."""
    family_of = {name: row.family for name, row in CATALOG.items()}
    found = [target for target in targets() if target.measure != "images_per_second"]
    parts = ["# Published numbers", _ABOUT]
    titles = [(family, title) for family, (title, _) in FAMILIES.items()]
    for family, title in (*titles, (None, "Networks outside the catalogue")):
        made = tables(t for t in found if (family_of[t.variant] if t.variant else None) == family)
        parts += [f"## {title}", *(_table(table) for table in made)] if made else []
    parts += [
        "## Statements without a number",
        _remarks(),
        "## Speeds",
        _speeds(),
        "## Sources",
        _sources(),
    ]
    return "\n\n".join(parts) + "\n"


def article_page() -> str:
    """The article's claims, with verdict and evidence."""
    rows = [
        (
            str(claim.number),
            claim.says,
            claim.verdict,
            claim.evidence,
            ", ".join((*claim.tested_by, *((claim.check,) if claim.check else ()))),
        )
        for claim in article()
    ]
    head = ("#", "the article says", "verdict", "evidence", "tested by")
    return f"# An article's claims about AlexNet\n\n{_ARTICLE}\n\n{_grid(head, rows)}\n"


def paper_claims_page() -> str:
    """The paper's quantitative claims and what is needed to decide each."""
    rows = [
        (
            str(claim.number),
            claim.section,
            claim.statement,
            claim.data,
            claim.decided_by,
            claim.needs,
            claim.note or "",
        )
        for claim in paper_claims()
    ]
    head = ("#", "section", "claim", "data", "decided by", "what is needed", "note")
    return f"# The paper's quantitative claims\n\n{_grid(head, rows)}\n"


def diff_page(*pairs: tuple[str, str]) -> str:
    """The differences of pairs of rows, each with its own recipe: network, recipe, evaluation
    protocol.
    """
    parts = ["# How variants differ", _DIFF]
    for a, b in pairs:
        parts += [
            f"## {_code(a)} and {_code(b)}",
            _differences(differences(_trained(a), _trained(b)), a, b),
        ]
    return "\n\n".join(parts) + "\n"


def _trained(name: str) -> Trained:
    row = CATALOG[name]
    return row.spec, native_recipe(row)


def _differences(found: Sequence[Difference], a: str, b: str) -> str:
    if not found:
        return "Nothing."
    return _grid(("part", "place", "what", a, b), [(d.part, d.place, d.what, d.a, d.b) for d in found])


def _table(table: Table) -> str:
    notes = "".join(f"\n{number}. {note}" for number, note in enumerate(table.notes, 1))
    return f"**{plain(table.caption)}**\n\n{table_grid(table)}" + (f"\n{notes}" if notes else "")


def _speeds() -> str:
    rows = [
        (
            str(speed.year),
            speed.machine,
            speed.software,
            speed.net,
            _range(speed),
            f"{speed.mode}, {speed.images} images; {speed.timed}",
            f"{speed.source}: {speed.section}{READ[speed.confidence]}",
        )
        for speed in speeds()
    ]
    return _grid(("year", "machine", "software", "network", "images/s", "timed", "source"), rows)


def _range(speed: Speed) -> str:
    """ "208 to 267", or one number."""
    ends = (speed.throughput, *((speed.high,) if speed.high else ()))
    return " to ".join(f"{end.images_per_second:,.0f}" for end in ends)


def _remarks() -> str:
    return "\n".join(f"- {item.text} ({item.source}: {item.section})" for item in remarks())


def _sources() -> str:
    return "\n".join(
        f"- **{name}**: {source.title} ({source.place})" for name, source in sources().items()
    )


def _code(name: str) -> str:
    return f"`{name}`"


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    columns = tuple(Column(heading=heading) for heading in headings)
    return table_grid(Table(caption="", columns=columns, rows=tuple(map(tuple, rows))))


_ABOUT = """Errors are in percent and differences in percentage points, as printed. Accuracies are
converted to errors. Each table has one data set, split and protocol. Numbers without a mark were read
in their primary source; the other ones have a mark that says where they come from.
`python -m harness targets VARIANT` prints the numbers of one variant."""

_DIFF = """These tables are computed from the specs of the nets and their recipes; `python -m harness
diff A B` prints the same. Layers are matched by name. Differences that can't change a result are left
out."""

_ARTICLE = """A widely read article describes AlexNet with many mistakes. This page restates its 67
statements and compares them with the sources. Each mistaken ingredient is also a variant, added to the
paper's net, that can be trained."""
