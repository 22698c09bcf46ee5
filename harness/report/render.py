"""Writes a report: report.md, report.pdf, figures/ and manifest.json from one model, each file replaced whole."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import typst

from harness.errors import RecordError
from harness.report.markdown import report_markdown
from harness.report.model import ReportModel, Source
from harness.serialization import to_plain
from variants.values import value

MANIFEST = "manifest.json"


@value
class Manifest:
    """manifest.json: sha256 of every other file of the report by its name, and the records the numbers come from."""

    schema_version: int = 1
    study: str
    outputs: dict[str, str]
    records: tuple[Source, ...]


def write_report(model: ReportModel, folder: Path) -> list[Path]:
    """Returns the paths written, report.md first. Raises RecordError where the folder can't be written."""
    files = render(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _replace(folder / name, content)
        for old in sorted((folder / "figures").glob("*")):
            if f"figures/{old.name}" not in files:
                old.unlink()
    except OSError as error:
        raise RecordError(f"can't write the report to {folder}: {error.strerror or error}; use --out DIR") from error
    return [folder / name for name in files]


def render(model: ReportModel) -> dict[str, bytes]:
    """Every file of the report by its path in the folder, manifest.json last. The same model gives the same bytes."""
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
    return asdict(model, dict_factory=lambda pairs: {key: item for key, item in pairs if key != "content"})


def _manifest(model: ReportModel, files: dict[str, bytes]) -> bytes:
    outputs = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    plain = to_plain(Manifest(study=model.study, outputs=outputs, records=model.sources))
    return (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode()


def _replace(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)  # noqa: PTH101  # mkstemp's files are private
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise
