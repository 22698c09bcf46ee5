"""The section on provenance: records with digests and checksums, software versions, commits, and
runs set aside.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.machine.environment import Environment
from harness.report.cached import CachedRecord
from harness.report.data import ReportData
from harness.report.model import Block, Commands, Paragraph, Section
from harness.report.text import NONE, count, listed, short
from harness.tables import Column, Table


def section(report: ReportData) -> Section:
    """Tables of runs set aside, of versions and of records, and the commands that check them."""
    own = report.evidence.own
    blocks = (
        *_set_aside(report),
        *_versions(own),
        *_records(own),
        Paragraph(
            text="To check records and report, where PATH is the folder of this report:", lead=True
        ),
        Commands(lines=("python -m harness verify", "python -m harness verify-report PATH")),
    )
    return Section(title="Provenance", blocks=blocks)


def _set_aside(report: ReportData) -> tuple[Block, ...]:
    aside = report.evidence.set_aside
    if not aside:
        return (
            Paragraph(
                text="Every sealed run is used in the numbers: none failed, was interrupted or was "
                "repeated."
            ),
        )
    rows = tuple(
        (item.record.spec.variant, str(item.record.spec.seed), item.reason, item.record.run_id)
        for item in aside
    )
    return (
        Table(
            caption=f"{count(len(aside), 'run')} set aside: sealed, but not used in any number above.",
            columns=(
                Column(heading="Variant"),
                Column(heading="Seed", align="right"),
                Column(heading="Why", share=1),
                Column(heading="Record", share=1),
            ),
            rows=rows,
        ),
    )


def _versions(records: Sequence[CachedRecord]) -> tuple[Block, ...]:
    rows = [entry for record in records for entry in _environment(record.env).items()]
    if not rows:
        return ()
    versions = pd.DataFrame(rows, columns=["what", "version"]).drop_duplicates()
    return (
        Table(
            caption="Software and source of all runs; several entries where runs differ.",
            columns=(Column(heading="What"), Column(heading="Version", share=1)),
            rows=tuple(
                (str(what), listed(list(held)))
                for what, held in versions.groupby("what", sort=False)["version"]
            ),
        ),
    )


def _environment(env: Environment) -> dict[str, str]:
    source = env.source
    state = " with changes, which are in the record" if source is not None and source.dirty else ""
    known = {
        "commit": f"{short(source.commit)}{state}" if source is not None else NONE,
        "harness": env.harness,
        "python": env.python,
        **env.packages,
        "system": env.os,
        "GPU driver": env.driver,
    }
    return {name: str(held) for name, held in known.items() if held is not None}


def _records(records: Sequence[CachedRecord]) -> tuple[Block, ...]:
    if not records:
        return ()
    return (
        Table(
            caption="Records. The checksum is the sha256 of the record's SHA256SUMS; manifest.json has "
            "both in full.",
            columns=(
                Column(heading="Record", share=1),
                Column(heading="Status"),
                Column(heading="Spec digest"),
                Column(heading="Checksum"),
                Column(heading="Commit"),
            ),
            rows=tuple(
                (
                    record.run_id,
                    record.summary.status,
                    short(record.summary.spec_digest),
                    short(record.checksum),
                    short(record.env.source.commit) if record.env.source else NONE,
                )
                for record in records
            ),
        ),
    )
