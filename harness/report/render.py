"""Writes a report: report.md, report.pdf, figures/ and manifest.json from one model, each file
replaced whole.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import typst

from harness.errors import RecordError
from harness.files import write_atomically
from harness.records.files import read_whole, sha256_of
from harness.records.record import TEXT_LIMIT
from harness.records.schema import Refused
from harness.report.markdown import report_markdown
from harness.report.model import ReportModel, Source
from harness.serialization import from_json, to_plain
from variants.values import value

MANIFEST = "manifest.json"
FIGURES = "figures"
FIGURE = re.compile(r"figures/\w[\w.-]*")


@value
class Manifest:
    """manifest.json: sha256 of every other file of the report by its name, and the records the numbers
    come from.

    refused: the records that were left out; benches: the records of speeds. Each of these fields is
    absent where there were none.
    """

    schema_version: int = 1
    study: str
    outputs: dict[str, str]
    records: tuple[Source, ...]
    refused: tuple[Refused, ...] = ()
    benches: tuple[Source, ...] = ()


def write_report(model: ReportModel, folder: Path) -> list[Path]:
    """Returns the paths written, report.md first. Raises RecordError where the folder can't be written.

    Figures of the report that was there before are removed: those that its manifest.json lists and that
    are unchanged.
    """
    files = render(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FIGURES).is_symlink():
            raise RecordError(
                f"{folder / FIGURES} is a link, and a report writes only its own folder; use --out DIR"
            )
        old = _old_figures(folder)
        for name, content in files.items():
            # last: until then the old manifest says which figures are the report's own
            if name == MANIFEST:
                _remove(folder, old.keys() - files.keys(), old)
            (folder / name).parent.mkdir(exist_ok=True)
            write_atomically(folder / name, content)
    except OSError as error:
        raise RecordError(
            f"can't write the report to {folder}: {error.strerror or error}; use --out DIR"
        ) from error
    return [folder / name for name in files]


def _old_figures(folder: Path) -> dict[str, str]:
    """The figures of the report in the folder, by name, with their sha256; empty where there is none
    to be read.
    """
    try:
        manifest = from_json(read_whole(folder / MANIFEST, TEXT_LIMIT), Manifest)
    except RecordError:
        return {}
    return {name: digest for name, digest in manifest.outputs.items() if FIGURE.fullmatch(name)}


def _remove(folder: Path, names: Iterable[str], digests: Mapping[str, str]) -> None:
    """Remove plain files that still have these digests."""
    for name in names:
        path = folder / name
        if path.is_file() and not path.is_symlink() and sha256_of(path) == digests[name]:
            path.unlink()


def render(model: ReportModel) -> dict[str, bytes]:
    """Every file of the report by its path in the folder, manifest.json last.

    The same model gives the same bytes.
    """
    files = {"report.md": report_markdown(model).encode(), "report.pdf": pdf(model)}
    files |= {f"figures/{figure.file}": figure.content for figure in model.figures}
    return files | {MANIFEST: _manifest(model, files)}


def pdf(model: ReportModel) -> bytes:
    """The PDF: only fonts that come with typst, no network, no date (the template says so)."""
    with tempfile.TemporaryDirectory(prefix="harness-report-") as made:
        root = Path(made)
        (root / "figures").mkdir()
        for figure in model.figures:
            (root / "figures" / figure.file).write_bytes(figure.content)
        (root / "data.json").write_text(json.dumps(_without_pictures(model)), encoding="utf-8")
        template = resources.files("harness.report").joinpath("templates/report.typ").read_bytes()
        (root / "report.typ").write_bytes(template)
        compiled = typst.compile(root / "report.typ", root=root, ignore_system_fonts=True)
    assert isinstance(compiled, bytes)
    return compiled


def _without_pictures(model: ReportModel) -> dict[str, Any]:
    return asdict(
        model, dict_factory=lambda pairs: {key: item for key, item in pairs if key != "content"}
    )


def _manifest(model: ReportModel, files: dict[str, bytes]) -> bytes:
    outputs = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    plain = to_plain(
        Manifest(
            study=model.study,
            outputs=outputs,
            records=model.sources,
            refused=model.refused,
            benches=model.benches,
        )
    )
    for name in ("refused", "benches"):
        if not plain[name]:
            del plain[name]
    return (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode()
