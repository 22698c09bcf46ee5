"""Data for a command: prepared with bars, and a plain sentence where FFCV can't load it."""

from __future__ import annotations

from harness.cli.progress import console, counting
from harness.data.base import Prepared
from harness.data.loaders.factory import LoaderName, choose_loader
from harness.resolve import RunRequest, prepare_for


def load(request: RunRequest, loader: LoaderName) -> Prepared:
    """The data set `request` asks for, ready for the loader that this machine can use."""
    choice = choose_loader(loader)
    if loader == "auto" and choice.name != "ffcv":
        console.print(f"torchvision's folder loader takes FFCV's place: {choice.reason}", soft_wrap=True)
    with counting() as progress:
        return prepare_for(request, loader, progress)
