"""Re-derives a report: the files against manifest.json, the records against their checksums, every
number anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from harness.errors import RecordError
from harness.records.bench import BenchRecord, load_benches
from harness.records.files import read_whole
from harness.records.record import ARRAY_LIMIT, TEXT_LIMIT
from harness.records.store import RunRecord, Store
from harness.report.build import build
from harness.report.cached import CachedRecord
from harness.report.render import MANIFEST, Manifest, render
from harness.serialization import from_json


def check_report(
    folder: Path, store: Store, descriptions: Mapping[str, str] | None = None
) -> list[str]:
    """What is wrong with the report in `folder`, a sentence each; empty if nothing is. descriptions: as
    for build().

    Raises RecordError where there is no readable manifest. Bytes of figures and PDF depend on the
    versions of the libraries that draw them; report.md depends on the records alone.
    """
    manifest = read_manifest(folder)
    found = _wrong_files(folder, manifest)
    own, reference, (benches, refused) = (
        store.verified(),
        store.verified_reference(),
        load_benches(store.root),
    )
    known = {record.run_id: record for record in (*own.records, *reference.records)}
    speeds = {bench.path.name: bench for bench in benches}
    reasons = {one.run_id: one.reason for one in (*own.refused, *reference.refused, *refused)}
    missing = [source.run_id for source in manifest.records if source.run_id not in known]
    missing += [source.run_id for source in manifest.benches if source.run_id not in speeds]
    if missing:
        return [
            *found,
            *(
                f"{name}: {reasons.get(name, f'the record is not under {store.root}')}"
                for name in missing
            ),
        ]
    found += [
        f"{source.run_id}: not the record that the report was made from"
        for source in manifest.records
        if CachedRecord.of(known[source.run_id]).checksum != source.checksums
    ]
    found += [
        f"{source.run_id}: not the record that the report was made from"
        for source in manifest.benches
        if speeds[source.run_id].checksum != source.checksums
    ]
    return found or _wrong_numbers(manifest, known, speeds, descriptions)


def read_manifest(folder: Path) -> Manifest:
    """Raises RecordError naming the field where it can't be read as one."""
    path = folder / MANIFEST
    try:
        return from_json(read_whole(path, TEXT_LIMIT), Manifest)
    except RecordError as error:
        raise RecordError(f"{folder} holds no report that can be checked: {error}") from error


def _wrong_files(folder: Path, manifest: Manifest) -> list[str]:
    found = []
    for name, digest in manifest.outputs.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            found.append(f"{name}: the manifest names a file outside the report")
        elif not path.is_file():
            found.append(f"{name}: missing")
        elif hashlib.sha256(read_whole(path, ARRAY_LIMIT)).hexdigest() != digest:
            found.append(f"{name}: differs from what was written")
    return found


def _wrong_numbers(
    manifest: Manifest,
    known: dict[str, RunRecord],
    speeds: dict[str, BenchRecord],
    descriptions: Mapping[str, str] | None,
) -> list[str]:
    own, reference = (
        [known[source.run_id] for source in manifest.records if source.origin == origin]
        for origin in ("own", "reference")
    )
    again = render(
        build(
            manifest.study,
            own,
            reference,
            refused=manifest.refused,
            descriptions=descriptions,
            benches=[speeds[source.run_id] for source in manifest.benches],
        )
    )
    return [
        f"{name}: made anew from the records it differs; was it made by another version of the harness?"
        for name, digest in manifest.outputs.items()
        if hashlib.sha256(again.get(name, b"")).hexdigest() != digest
    ]
