"""The commands `report` (writes reports/<study>/ from sealed records) and `verify-report` (checks a report)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Refused
    from harness.records.store import RunRecord
    from harness.studies import Study

RESULTS = Annotated[Path, typer.Option(help="Folder of sealed records.")]


def report(
    study: Annotated[str, typer.Argument(help="Study, as in: python -m harness reproduce --help")] = "reproduce",
    results: RESULTS = Path("results"),
    out: Annotated[
        Path, typer.Option(help="The report is written to a folder with the study's name in this one.")
    ] = Path("reports"),
    reference: Annotated[
        bool, typer.Option("--reference", help="Report on the records that came with the clone instead of yours.")
    ] = False,
) -> None:
    """Write report.md, report.pdf and figures from sealed records. Nothing is trained."""
    from harness.records.store import Store
    from harness.studies import study_named

    store, wanted = Store(results), study_named(study)
    beside = store.verified_reference(study)
    if reference:
        write(study, beside.records, (), out, beside.refused)
        return
    own = store.verified()
    refused = (*own.refused, *beside.refused)
    if wanted.long:  # records of any machine count
        write(study, [*of_study(wanted, own.records), *beside.records], (), out, refused)
    else:
        write(study, of_study(wanted, own.records), beside.records, out, refused)


def verify_report(
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="A report's folder, such as reports/reproduce.")],
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
        f"ok: {len(manifest.outputs)} files, {len(manifest.records)} records; the report written again has the same "
        "bytes"
    )


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
    out: Path,
    refused: Sequence[Refused] = (),
) -> None:
    """Write reports/<study>/ and print its path and findings. `reproduce` ends with this, too."""
    from harness.report.build import build
    from harness.report.render import write_report
    from variants.plugins import register

    register()
    model = build(study, own, reference, refused=refused, descriptions=descriptions())
    paths = write_report(model, out / study)
    for one in refused:
        typer.echo(f"{one.run_id} is left out: {one.reason}", err=True)
    typer.echo("")
    for sentence in model.findings:
        typer.echo(f"* {sentence}")
    typer.echo(f"report: {paths[0]} and {paths[1]}")
