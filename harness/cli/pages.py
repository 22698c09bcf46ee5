"""The command `pages`: writes the generated pages of the repository, reports/published/ and README's
results.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import RecordError

if TYPE_CHECKING:
    from harness.report.model import ReportModel

IN_README = ("figure1", "reproduce")


def pages(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 where a page is out of date.")
    ] = False,
    root: Annotated[Path, typer.Option(help="A checkout of the project.")] = Path(),
) -> None:
    """Write reports/published/*.md and README's results from the catalogue, published numbers and
    reference records.
    """
    wanted = generated(root)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        typer.echo(f"out of date: {', '.join(map(str, stale))}; fix it with: python -m harness pages")
        raise typer.Exit(1)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    typer.echo(f"{len(stale)} pages written" if stale else "all pages are up to date")


def generated(root: Path) -> dict[Path, str]:
    """The text of every generated page by its path."""
    from harness.published import pages as published

    folder = root / "reports" / "published"
    return {
        folder / "targets.md": published.targets_page(),
        folder / "article.md": published.article_page(),
        folder / "paper.md": published.paper_claims_page(),
        folder / "differences.md": published.diff_page(
            ("grouped_2gpu", "one_weird_trick"),
            ("grouped_2gpu", "code_2012"),
            ("grouped_2gpu", "article"),
        ),
        root / "README.md": _readme(root),
    }


def _readme(root: Path) -> str:
    from harness.report.markdown import BEGIN, END, readme_results

    text = (root / "README.md").read_text()
    results = readme_results(_model(root, study) for study in IN_README)
    return re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda found: results, text, flags=re.DOTALL
    )


def _model(root: Path, study: str) -> ReportModel:
    from harness.records.store import Store
    from harness.report.build import build

    found = Store(root / "results").verified_reference(study)
    if found.refused:
        raise RecordError(
            f"README needs all records, but {found.refused[0].run_id}: {found.refused[0].reason}"
        )
    return build(study, found.records)
