"""The commands `report` (writes reports/<study>/ from sealed records) and `verify-report` (checks a
report).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Refused
    from harness.records.store import RunRecord, Store
    from harness.report.model import ReportModel
    from harness.studies.study import Study

RESULTS = Annotated[Path, typer.Option(help="Folder of sealed records.")]


def report(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY]...",
            help="One report on these studies, as in: python -m harness list --studies",
            show_default="reproduce",
        ),
    ] = None,
    results: RESULTS = Path("results"),
    out: Annotated[
        Path,
        typer.Option(help="The report is written to a folder with the studies' names in this one."),
    ] = Path("reports"),
    reference: Annotated[
        bool,
        typer.Option(
            "--reference", help="Report on the records that came with the clone instead of yours."
        ),
    ] = False,
    tables: Annotated[
        Path | None, typer.Option(help="Also write every table as CSV and LaTeX to this folder.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Also write the validation images that most networks get wrong as PNG to this folder. "
            "The data set must be prepared on this machine."
        ),
    ] = None,
) -> None:
    """Write report.md, report.pdf and figures from sealed records. Nothing is trained."""
    from harness.records.store import Store
    from harness.studies.rows import name_of_several

    names = studies or ["reproduce"]
    study = name_of_several(names)
    counted, beside, refused = _records(names, Store(results), reference)
    model = write(study, counted, beside, refused, out=out, results=None if reference else results)
    if tables is not None:
        from harness.report.table_files import write_tables

        typer.echo(f"{len(write_tables(model, tables))} files with tables in {tables}")
    if pictures is not None:
        from harness.cli.pictures import write_pictures

        write_pictures(study, counted, pictures)


def _records(
    names: Sequence[str], store: Store, reference: bool
) -> tuple[list[RunRecord], list[RunRecord], list[Refused]]:
    """The records that a report on these studies counts, those it shows beside them, and those it can't
    use.

    Of a long study, records of any machine count, also those that came with the clone.
    """
    from harness.studies.rows import study_named

    wanted = {name: study_named(name) for name in names}
    own, cloned = store.verified(), store.verified_reference()
    counted: dict[str, RunRecord] = {}
    beside: dict[str, RunRecord] = {}
    refused = {} if reference else {one.run_id: one for one in own.refused}
    for name, study in wanted.items():
        came = store.verified_reference(name)
        theirs = _by_id(of_study(study, cloned.records) if study.long else came.records)
        mine = {} if reference else _by_id(of_study(study, own.records))
        if reference or study.long:
            counted |= mine | theirs
        else:
            counted, beside = counted | mine, beside | theirs
        refused |= {one.run_id: one for one in came.refused}
    return list(counted.values()), list(beside.values()), list(refused.values())


def _by_id(records: Sequence[RunRecord]) -> dict[str, RunRecord]:
    return {record.run_id: record for record in records}


def verify_report(
    folder: Annotated[
        Path, typer.Argument(metavar="PATH", help="A report's folder, such as reports/reproduce.")
    ],
    results: RESULTS = Path("results"),
) -> None:
    """Check a report's files and records against its manifest, and compute every number again.

    Exit code 1 on a problem.
    """
    from harness.records.store import Store
    from harness.report.check import check_report, read_manifest

    problems = check_report(folder, Store(results), descriptions())
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    manifest = read_manifest(folder)
    typer.echo(
        f"ok: {len(manifest.outputs)} files, {len(manifest.records)} records; the report written again "
        "has the same bytes"
    )


def compare(
    first: Annotated[
        str, typer.Argument(metavar="RUN", help="A record's folder, or the start of its name.")
    ],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another one.")],
    results: RESULTS = Path("results"),
) -> None:
    """Compare two sealed runs: spec, machine, losses step by step, errors and the images behind
    them.
    """
    from rich.console import Console

    from harness.cli.terminal import print_table
    from harness.records.store import Store
    from harness.records.verify import load_verified
    from harness.report.compare_runs import compare_runs

    store, console = Store(results), Console()
    for table in compare_runs(*(load_verified(_folder(name, store)) for name in (first, second))):
        print_table(console, table)


def _folder(name: str, store: Store) -> Path:
    """The folder of one record. Raises UsageError where none or several begin with `name`."""
    from harness.errors import UsageError

    if Path(name).is_dir():
        return Path(name)
    found = [path for path in store.folders() if path.name.startswith(name)]
    if len(found) != 1:
        how = "no record begins" if not found else f"{len(found)} records begin"
        raise UsageError(f"{how} with '{name}' under {store.root}; give the whole name, or the folder")
    return found[0]


def of_study(study: Study, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those with the study's recipe, settings and data, whatever the variant."""
    wanted = (study.recipe, study.data)
    alike = [record for record in records if (record.spec.recipe.name, record.spec.data.name) == wanted]
    return [record for record in alike if set(study.settings) <= set(record.spec.overrides)]


def descriptions() -> dict[str, str]:
    """One sentence per data set, from the row of its source."""
    from harness.data.sources import sources

    return {name: source.description.partition(";")[0] for name, source in sources().items()}


def write(
    study: str,
    own: Sequence[RunRecord],
    reference: Sequence[RunRecord],
    refused: Sequence[Refused],
    *,
    out: Path,
    results: Path | None = None,
) -> ReportModel:
    """Write reports/<study>/ and print its path and findings. `reproduce` ends with this, too.

    results: where the records of speeds are that the report shows, too.
    """
    from harness.records.bench import load_benches
    from harness.report.build import build
    from harness.report.render import write_report

    if results is not None:
        benches, unreadable = load_benches(results)
        refused = (*refused, *unreadable)
    else:
        benches = []
    model = build(study, own, reference, refused=refused, descriptions=descriptions(), benches=benches)
    paths = write_report(model, out / study)
    for one in refused:
        typer.echo(f"{one.run_id} is left out: {one.reason}", err=True)
    typer.echo("")
    for sentence in model.findings:
        typer.echo(f"* {sentence}")
    typer.echo(f"report: {paths[0]} and {paths[1]}")
    return model
