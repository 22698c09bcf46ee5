"""The command `list --studies`."""

from __future__ import annotations

import json
from dataclasses import asdict
from fnmatch import fnmatchcase

import typer

from harness.cli.terminal import print_table
from harness.errors import unknown
from harness.studies.rows import STUDIES
from harness.studies.study import Study
from harness.tables import Column, Table


def list_studies(pattern: str | None, as_json: bool) -> None:
    """Name, meaning, data, recipe and number of runs of each study; with --json all fields."""
    found = {
        name: study for name, study in STUDIES.items() if pattern is None or fnmatchcase(name, pattern)
    }
    if not found:
        raise unknown("study", str(pattern), STUDIES, "python -m harness list --studies")
    if as_json:
        typer.echo(
            json.dumps([{"name": name, **asdict(study)} for name, study in found.items()], indent=2)
        )
        return
    from rich.console import Console

    print_table(
        Console(),
        Table(
            caption="Run one with: python -m harness reproduce --study NAME",
            columns=(
                Column(heading="study"),
                Column(heading="what it compares"),
                Column(heading="data"),
                Column(heading="recipe"),
                Column(heading="runs", align="right"),
            ),
            rows=tuple(
                (name, study.meaning, study.data, study.recipe, _runs(study))
                for name, study in found.items()
            ),
        ),
    )


def _runs(study: Study) -> str:
    """The number of runs; with a search, at most: the best rate and two neighbours of each network
    follow it.
    """
    if not study.searches:
        return str(len(study.variants) * study.seeds)
    searched = sum(len(search.rates) for search in study.searches)
    return f"{searched} + {3 * len(study.searches) * study.seeds}"
