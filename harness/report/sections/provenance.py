"""Where every number comes from: records with their digests and checksums, versions, commits, and runs set aside."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from harness.records.files import SUMS, read_whole
from harness.records.record import TEXT_LIMIT
from harness.records.store import RunRecord
from harness.report.material import Material
from harness.report.model import Block, Commands, Paragraph, Section
from harness.report.text import NONE, count, listed, short
from harness.tables import Column, Table


def section(given: Material) -> Section:
    """Tables of runs set aside, of versions and of records; last, how to check them."""
    own = given.evidence.own
    check = ("python -m harness verify", f"python -m harness verify-report reports/{given.evidence.study}")
    blocks = (
        *_set_aside(given),
        *_versions(own),
        *_records(own),
        Paragraph(text="To check:", lead=True),
        Commands(lines=check),
    )
    return Section(title="Provenance", blocks=blocks)


def checksum(record: RunRecord) -> str:
    """sha256 of the record's SHA256SUMS, which lists the sha256 of every other file."""
    return hashlib.sha256(read_whole(record.path / SUMS, TEXT_LIMIT)).hexdigest()


def _set_aside(given: Material) -> tuple[Block, ...]:
    aside = given.evidence.set_aside
    if not aside:
        return (Paragraph(text="Every sealed run counts: none failed, was interrupted or was repeated."),)
    rows = tuple(
        (item.record.spec.variant, str(item.record.spec.seed), item.reason, item.record.run_id) for item in aside
    )
    return (
        Table(
            caption=f"{count(len(aside), 'run')} set aside: sealed, but no number above rests on them.",
            columns=(
                Column(heading="Variant"),
                Column(heading="Seed", align="right"),
                Column(heading="Why", share=1),
                Column(heading="Record", share=1),
            ),
            rows=rows,
        ),
    )


def _versions(records: Sequence[RunRecord]) -> tuple[Block, ...]:
    told: dict[str, list[str]] = {}
    for record in records:
        for name, held in _environment(record.env).items():
            kept = told.setdefault(name, [])
            kept += [held] if held not in kept else []
    if not told:
        return ()
    return (
        Table(
            caption="Software and source of all runs; several entries where runs differ.",
            columns=(Column(heading="What"), Column(heading="Version", share=1)),
            rows=tuple((name, listed(held)) for name, held in told.items()),
        ),
    )


def _environment(env: dict[str, Any]) -> dict[str, str]:
    source = env.get("source") or {}
    state = " with changes that the record holds" if source.get("dirty") else ""
    known = {
        "commit": f"{short(source.get('commit'))}{state}" if source else NONE,
        "harness": env.get("harness"),
        "python": env.get("python"),
        **(env.get("packages") or {}),
        "system": env.get("os"),
        "GPU driver": env.get("driver"),
    }
    return {name: str(held) for name, held in known.items() if held is not None}


def _records(records: Sequence[RunRecord]) -> tuple[Block, ...]:
    if not records:
        return ()
    return (
        Table(
            caption="Records. The checksum is the sha256 of the record's SHA256SUMS; manifest.json has both in full.",
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
                    short(checksum(record)),
                    short((record.env.get("source") or {}).get("commit")),
                )
                for record in records
            ),
        ),
    )
