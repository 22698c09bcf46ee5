"""Prepares the data set of a command, with progress bars and notes about the data."""

from __future__ import annotations

from harness.cli.data import counts, notes
from harness.cli.progress import console, counting
from harness.data.base import Prepared
from harness.data.loaders.factory import choose_loader
from harness.placement import LoaderName
from harness.resolve import RunRequest, prepare_for


def load(request: RunRequest, loader: LoaderName) -> Prepared:
    """The data set that `request` asks for, prepared for the loader that this machine can use."""
    choice = choose_loader(loader)
    if loader == "auto" and choice.name != "ffcv":
        console.print(f"the folder loader is used instead of FFCV: {choice.reason}", soft_wrap=True)
    with counting() as progress:
        prepared = prepare_for(request, loader, progress)
    manifest = prepared.manifest
    if request.path is None and manifest.source.path is not None:
        source, folder = manifest.source.path, prepared.folder
        console.print(f"{counts(manifest)} of {source}, as prepared in {folder}", soft_wrap=True)
    for note in notes(manifest):
        console.print(note, soft_wrap=True)
    return prepared
