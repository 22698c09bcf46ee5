"""Writes contact sheets of images that networks get wrong: chosen by the records, read from the prepared
data.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from harness.cli.progress import counting
from harness.data.base import Prepared
from harness.data.loaders.by_index import read_images
from harness.data.prepare.job import find_prepared
from harness.errors import DataError, HarnessError, RecordError
from harness.files import write_atomically
from harness.limits import usable_cores
from harness.records.store import RunRecord
from harness.report.build import evidence_of
from harness.report.contact_sheets import contact_sheet
from harness.report.hard_images import Sheet, sheets
from harness.report.text import count
from harness.spec import DataSpec


def write_pictures(study: str, records: Sequence[RunRecord], folder: Path) -> None:
    """Write the sheets of each setting whose data is prepared on this machine, and print their number.

    Raises DataError at the end if the data of some settings is not, and RecordError if the folder can't
    be written.
    """
    wanted: dict[DataSpec, list[Sheet]] = {}
    for place, setting in enumerate(evidence_of(study, records).settings, 1):
        wanted.setdefault(setting.key.data, []).extend(sheets(setting, place))
    written, missing = 0, list[str]()
    for data, of_data in wanted.items():
        try:
            drawn = _draw(find_prepared(data), of_data)
        except HarnessError as error:
            missing.append(str(error))
        else:
            written += _write(drawn, folder)
    typer.echo(f"{count(written, 'file')} with pictures in {folder}")
    if missing:
        raise DataError("; ".join(missing))


def _draw(prepared: Prepared, wanted: Sequence[Sheet]) -> dict[str, bytes]:
    """The PNG files by name."""
    indices = set[int]().union(*(sheet.indices for sheet in wanted))
    with counting() as progress:
        images = read_images(prepared, "val", indices, workers=usable_cores(), progress=progress)
    classes = prepared.manifest.classes
    return {sheet.file: contact_sheet(sheet, images, classes) for sheet in wanted}


def _write(files: dict[str, bytes], folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise RecordError(f"can't write the pictures to {folder}: {error.strerror or error}") from error
    return len(files)
