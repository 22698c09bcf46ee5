"""The commands `targets` and `article`: published numbers of a variant, and an article's claims
about AlexNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.published.schema import ArticleClaim, Target

VERDICTS = ("true", "false", "partly", "unclear")


def targets(
    variant: Annotated[str | None, typer.Argument(help="A name from `list`; default: all.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list; errors are fractions in `value`.")
    ] = False,
) -> None:
    """Print published numbers: value, data set, protocol, source. Each table has one protocol."""
    from harness.lookup import variant_named
    from harness.published.targets import targets as published

    if variant is not None:
        variant = variant_named(variant).name
    found = published(variant)
    if json:
        _print_json([_target_json(target) for target in found])
    else:
        _print_targets(variant, found)


def article(
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    verdict: Annotated[
        str | None,
        typer.Option(help="Print only claims with this verdict: true, false, partly or unclear."),
    ] = None,
) -> None:
    """Print an article's 67 claims about AlexNet: verdict, evidence, and the variant that tests
    each.
    """
    from harness.errors import unknown
    from harness.published.claims import article as claims

    if verdict not in (None, *VERDICTS):
        raise unknown("verdict", str(verdict), VERDICTS, "python -m harness article --help")
    found = [claim for claim in claims() if verdict in (None, claim.verdict)]
    if json:
        from harness.serialization import to_plain

        _print_json([to_plain(claim) for claim in found])
    else:
        _print_article(found)


def _target_json(target: Target) -> dict[str, Any]:
    from harness.serialization import to_plain

    return {**to_plain(target), "value": target.value, "verified": target.verified}


def _print_json(rows: list[dict[str, Any]]) -> None:
    from json import dumps

    typer.echo(dumps(rows, indent=1, ensure_ascii=False))


def _print_targets(variant: str | None, found: list[Target]) -> None:
    from rich.console import Console

    from harness.cli.terminal import print_table
    from harness.published.load import remarks, sources
    from harness.published.tables import tables

    console = Console()
    for table in tables(found):
        print_table(console, table, start=0 if variant is None else 1)
    for remark in remarks(variant):
        console.print(
            f"* {remark.text} ({remark.source}: {remark.section})", markup=False, highlight=False
        )
    if not found:
        console.print(
            f"Nothing is published for {variant}; see: python -m harness show {variant}", markup=False
        )
    for name in dict.fromkeys(target.source for target in found):
        console.print(
            f"{name}: {sources()[name].title} ({sources()[name].place})", markup=False, highlight=False
        )


def _print_article(found: list[ArticleClaim]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as Grid

    grid = Grid(box=None, padding=(0, 2, 0, 0))
    grid.add_column("#", justify="right")
    grid.add_column("the article says", ratio=4, overflow="fold")
    grid.add_column("verdict", no_wrap=True)
    grid.add_column("evidence", ratio=5, overflow="fold")
    grid.add_column("tested by", ratio=3, overflow="fold")
    for claim in found:
        tests = ", ".join((*claim.tested_by, *((claim.check,) if claim.check else ())))
        grid.add_row(
            str(claim.number), escape(claim.says), claim.verdict, escape(claim.evidence), escape(tests)
        )
    counts = ", ".join(f"{sum(c.verdict == v for c in found)} {v}" for v in VERDICTS)
    console = Console()
    console.print(grid)
    console.print(f"{len(found)} claims: {counts}", highlight=False)
