"""From sealed records to the report: compute the frames once, then write every section.

Same records, same report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.published.claims import article, paper_claims
from harness.published.comparisons import compared_with
from harness.published.history import history
from harness.records.bench import BenchRecord, newest
from harness.records.schema import Refused
from harness.records.store import RunRecord
from harness.report.checks import checks
from harness.report.claims import claims_of, judge_over
from harness.report.data import ReportData
from harness.report.error_analysis import analyse
from harness.report.evidence import Evidence, gather
from harness.report.findings import findings
from harness.report.frames import comparisons_frame, runs_frame, speeds_frame
from harness.report.model import Bullets, Paragraph, ReportModel, Section, Source
from harness.report.overview import overview
from harness.report.results_table import results_table
from harness.report.sections import SECTIONS
from harness.report.text import listed
from harness.studies.rows import studies_in
from variants.catalog import CATALOG, Variant, native_recipe
from variants.plugins import added, register
from variants.recipes import RECIPES


def build(
    study: str,
    own: Sequence[RunRecord],
    reference: Sequence[RunRecord] = (),
    *,
    refused: Sequence[Refused] = (),
    catalog: Mapping[str, Variant] = CATALOG,
    descriptions: Mapping[str, str] | None = None,
    benches: Sequence[BenchRecord] = (),
) -> ReportModel:
    """The report on `own`; `reference` records are shown beside and never counted. The order given
    doesn't matter.

    The records are taken as they are: Store.verified gives those whose numbers may count, and the
    `refused` ones.
    descriptions: one sentence per data set, by name, such as DataSource.description of
    harness.data.sources. benches: records of speeds; the newest of each kind are shown.
    """
    shown = newest(benches)
    report = replace(report_data(study, own, reference, catalog, descriptions or {}), benches=shown)
    writers = (*SECTIONS, *added("report_sections"))
    return ReportModel(
        study=study,
        title=f"AlexNet, measured: the stud{'ies' if '+' in study else 'y'} {listed(studies_in(study))}",
        findings=findings(report),
        overview=overview(report),
        sections=tuple(
            section
            for section in (*(write(report) for write in writers), _left_out(refused))
            if section.blocks
        ),
        results_table=results_table(report),
        sources=_sources(report.evidence),
        refused=tuple(refused),
        benches=tuple(
            Source(
                run_id=bench.path.name,
                spec_digest=bench.spec.digest,
                checksums=bench.checksum,
                origin="own",
            )
            for bench in shown
        ),
    )


def report_data(
    study: str,
    own: Sequence[RunRecord],
    reference: Sequence[RunRecord],
    catalog: Mapping[str, Variant] = CATALOG,
    descriptions: Mapping[str, str] | None = None,
) -> ReportData:
    """Everything the sections are written from.

    Rows of installed packages are added to the catalogue first.
    """
    evidence = evidence_of(study, own, reference, catalog)
    epochs = {name: native_recipe(row).epochs for name, row in catalog.items() if row.recipe in RECIPES}
    runs = runs_frame(evidence)
    claims = [claim for row in catalog.values() for claim in claims_of(row)]
    return ReportData(
        evidence=evidence,
        runs=runs,
        speeds=speeds_frame(runs),
        comparisons=comparisons_frame(evidence.settings, catalog, epochs),
        reference_comparisons=comparisons_frame(evidence.reference_settings, catalog, epochs),
        catalog=catalog,
        descriptions=descriptions or {},
        epochs=epochs,
        judgements=tuple(
            judge_over(claim, evidence.settings, epochs.get(claim.variant)) for claim in claims
        ),
        checks=checks(evidence.own),
        error_analyses=tuple(analyse(setting) for setting in evidence.settings),
        paper=paper_claims(),
        article=article(),
        history=history(),
    )


def evidence_of(
    study: str,
    own: Sequence[RunRecord],
    reference: Sequence[RunRecord] = (),
    catalog: Mapping[str, Variant] = CATALOG,
) -> Evidence:
    """The records, sorted into settings.

    Rows of installed packages are added to the catalogue first.
    """
    register()
    versus = {name: base for name, row in catalog.items() if (base := compared_with(row)) is not None}
    return gather(study, own, reference, list(catalog), versus, catalog)


def _left_out(refused: Sequence[Refused]) -> Section:
    """The records that were not counted because they can't be read or were changed."""
    title = "Records left out"
    if not refused:
        return Section(title=title, blocks=())
    lead = (
        "These folders hold records that can't be read or are not as they were sealed. No number here "
        "uses them."
    )
    items = tuple(f"{one.run_id}: {one.reason}" for one in refused)
    return Section(title=title, blocks=(Paragraph(text=lead, lead=True), Bullets(items=items)))


def _sources(evidence: Evidence) -> tuple[Source, ...]:
    """Every record that was read, the counted ones first."""
    return tuple(
        Source(
            run_id=record.run_id,
            spec_digest=record.summary.spec_digest,
            checksums=record.checksum,
            origin=origin,  # type: ignore[arg-type]  # one of the two below
        )
        for origin, records in (("own", evidence.own), ("reference", evidence.reference_records))
        for record in records
    )
