"""Which loader runs, and why: FFCV where it works, torch and PIL where it doesn't, memory for
synthetic images.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from harness.data.base import Loader, LoaderChoice, LoaderSettings, Prepared
from harness.data.loaders.folder import FolderLoader
from harness.data.loaders.synthetic import open_synthetic
from harness.data.names import Split
from harness.data.prepare.contents import source_stamp
from harness.data.prepare.manifest import Listing
from harness.errors import DataError, UsageError
from harness.placement import LoaderName
from harness.setup import ffcv


def choose_loader(loader: LoaderName) -> LoaderChoice:
    """The loader for image data on this machine.

    Raises UsageError where "ffcv" is asked for and doesn't work.
    """
    if loader == "folder":
        return LoaderChoice(name="folder", reason="the folder loader was asked for")
    works, why = ffcv.status()
    if works:
        return LoaderChoice(name="ffcv", reason=why)
    if loader == "ffcv":
        raise UsageError(f"the FFCV loader was asked for, but {why}")
    return LoaderChoice(name="folder", reason=why)


def open_loader(
    prepared: Prepared, split: Split, settings: LoaderSettings, loader: LoaderName = "auto"
) -> Loader:
    """The loader of one split; its `choice` says which it is and why. All of them give the same batches
    in raw mode.

    Raises UsageError where the crop is larger than the stored image.
    """
    spec, size = prepared.spec, settings.crop.size
    if size is not None and size > spec.store_size:
        raise UsageError(
            f"a crop of {size} pixels does not fit {spec.name}, stored at {spec.store_size}; prepare "
            f"it with --size {size} or more"
        )
    if prepared.folder is None:
        return open_synthetic(prepared, split, settings)
    choice = _choose_for(prepared, loader)
    if choice.name == "ffcv":
        return _open_ffcv(prepared, prepared.folder, split, settings, choice.reason)
    root, listing = (
        prepared.folder / prepared.manifest.roots[split],
        Listing.load(prepared.folder / f"{split}.jsonl"),
    )
    _refuse_changed_files(prepared, split, root, listing)
    return FolderLoader(
        root,
        listing,
        settings,
        side=spec.store_size,
        reason=choice.reason,
    )


def _refuse_changed_files(prepared: Prepared, split: Split, root: Path, listing: Listing) -> None:
    """The folder loader reads the source's own files, which may have moved or changed since.

    Raises DataError.
    """
    manifest, name = prepared.manifest, prepared.spec.name
    fix = f"run: python -m harness data prepare {name}"
    if not root.is_dir():
        raise DataError(f"{root}, which held the images of {name}, is not there; {fix} --path FOLDER")
    stamp = manifest.stamps.get(split)
    if stamp is not None and stamp != source_stamp(root, listing.names):
        path = shlex.quote(manifest.source.path or str(root))
        raise DataError(f"the images in {root} changed since {name} was prepared; {fix} --path {path}")


def _open_ffcv(
    prepared: Prepared, folder: Path, split: Split, settings: LoaderSettings, reason: str
) -> Loader:
    from harness.data.ffcv.loader import FfcvLoader  # imports ffcv, which not every machine has

    spec = prepared.spec
    settings = replace(settings, workers=max(1, settings.workers))
    path, images = folder / f"{split}.beton", spec.images(split)
    return FfcvLoader(path, settings, images=images, reason=reason, boxes=spec.boxes)


def _choose_for(prepared: Prepared, loader: LoaderName) -> LoaderChoice:
    """The choice among the loaders this data set was prepared for."""
    ready, name = prepared.manifest.loaders, prepared.spec.name
    choice = choose_loader(loader)
    if choice.name in ready:
        return choice
    fix = f"python -m harness data prepare {name} --loader {choice.name}"
    if loader == "auto" and "folder" in ready:
        return LoaderChoice(
            name="folder", reason=f"{name} was prepared for the folder loader only; fix it with: {fix}"
        )
    raise UsageError(f"{name} was not prepared for the {choice.name} loader; run: {fix}")
