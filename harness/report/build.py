"""From sealed records to the report's model: sort, judge, write every section. Pure: same records, same model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.published.claims import article, paper_claims
from harness.published.comparisons import compared_with
from harness.published.history import history
from harness.records.store import RunRecord
from harness.report.claims import claims_of, judge_over
from harness.report.evidence import Evidence, gather
from harness.report.findings import findings
from harness.report.headline import headline
from harness.report.material import Material
from harness.report.model import ReportModel, Source
from harness.report.sections import SECTIONS
from harness.report.sections.provenance import checksum
from variants.catalog import CATALOG, Variant, native_recipe
from variants.recipes import RECIPES


def build(
    study: str,
    own: Sequence[RunRecord],
    reference: Sequence[RunRecord] = (),
    *,
    catalog: Mapping[str, Variant] = CATALOG,
) -> ReportModel:
    """The report on `own`; `reference` records are shown beside and never counted. The order given doesn't matter."""
    given = material(study, own, reference, catalog)
    return ReportModel(
        study=study,
        title=f"AlexNet, measured: the study {study}",
        found=findings(given),
        sections=tuple(section for write in SECTIONS if (section := write(given)).blocks),
        headline=headline(given),
        sources=_sources(given.evidence),
    )


def material(
    study: str, own: Sequence[RunRecord], reference: Sequence[RunRecord], catalog: Mapping[str, Variant]
) -> Material:
    """Everything the sections are written from."""
    versus = {name: base for name, row in catalog.items() if (base := compared_with(row)) is not None}
    evidence = gather(study, own, reference, list(catalog), versus)
    epochs = {name: native_recipe(row).epochs for name, row in catalog.items() if row.recipe in RECIPES}
    claims = [claim for row in catalog.values() for claim in claims_of(row)]
    return Material(
        evidence=evidence,
        catalog=catalog,
        epochs=epochs,
        judgements=tuple(judge_over(claim, evidence.settings, epochs.get(claim.variant)) for claim in claims),
        paper=paper_claims(),
        article=article(),
        history=history(),
    )


def _sources(evidence: Evidence) -> tuple[Source, ...]:
    """Every record that was read, the counted ones first."""
    return tuple(
        Source(
            run_id=record.run_id,
            spec_digest=record.summary.spec_digest,
            checksums=checksum(record),
            origin=origin,  # type: ignore[arg-type]  # one of the two below
        )
        for origin, records in (("own", evidence.own), ("reference", evidence.came_with_clone))
        for record in records
    )
