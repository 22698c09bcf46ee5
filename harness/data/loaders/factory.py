"""Which loader runs, and why: FFCV where it works, torch and PIL where it doesn't, memory for synthetic images."""

from __future__ import annotations

from typing import Literal, TypeAlias

from harness.data.base import CropRule, Loader, LoaderChoice, Prepared, Split
from harness.data.loaders.folder import FolderLoader
from harness.data.loaders.synthetic import CHOICE, open_synthetic
from harness.data.prepare.manifest import Listing
from harness.errors import UsageError
from harness.setup import ffcv

LoaderName: TypeAlias = Literal["auto", "ffcv", "folder"]


def choose_loader(loader: LoaderName) -> LoaderChoice:
    """The loader for image data on this machine. Raises UsageError where "ffcv" is asked for and doesn't work."""
    if loader == "folder":
        return LoaderChoice(name="folder", reason="the folder loader was asked for")
    works, why = ffcv.status()
    if works:
        return LoaderChoice(name="ffcv", reason=why)
    if loader == "ffcv":
        raise UsageError(f"the FFCV loader was asked for, but {why}")
    return LoaderChoice(name="folder", reason=why)


def open_loader(
    prepared: Prepared,
    split: Split,
    *,
    batch_size: int,
    view: CropRule,
    seed: int,
    shuffle: bool,
    workers: int,
    loader: LoaderName = "auto",
) -> Loader:
    """The loader of one split; its `choice` says which it is and why. All of them give the same batches in raw mode.

    workers: threads (FFCV) or processes (folder). Raises UsageError where the crop is larger than the stored square.
    """
    if view.crop is not None and view.crop > prepared.spec.store_size:
        raise UsageError(
            f"a crop of {view.crop} pixels does not fit {prepared.spec.name}, stored at {prepared.spec.store_size}; "
            f"prepare it with --size {view.crop} or more"
        )
    if prepared.manifest["source"]["name"] == CHOICE.name:
        return open_synthetic(prepared, split, batch_size=batch_size, view=view, seed=seed, shuffle=shuffle)
    choice = _choose_for(prepared, loader)
    if choice.name == "ffcv":
        return _open_ffcv(
            prepared, split, batch_size=batch_size, view=view, seed=seed, shuffle=shuffle, workers=workers
        )
    return FolderLoader(
        prepared.folder / prepared.manifest["roots"][split],
        Listing.load(prepared.folder / f"{split}.jsonl"),
        side=prepared.spec.store_size,
        view=view,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        workers=workers,
        reason=choice.reason,
    )


def _open_ffcv(
    prepared: Prepared, split: Split, *, batch_size: int, view: CropRule, seed: int, shuffle: bool, workers: int
) -> Loader:
    from harness.data.ffcv.loader import FfcvLoader  # imports ffcv, which not every machine has

    spec = prepared.spec
    return FfcvLoader(
        prepared.folder / f"{split}.beton",
        images=spec.train_images if split == "train" else spec.val_images,
        view=view,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        workers=max(1, workers),
        boxes=spec.boxes,
    )


def _choose_for(prepared: Prepared, loader: LoaderName) -> LoaderChoice:
    """The choice among the loaders this data set was prepared for."""
    ready, name = prepared.manifest["loaders"], prepared.spec.name
    choice = choose_loader(loader)
    if choice.name in ready:
        return choice
    fix = f"python -m harness data prepare {name} --loader {choice.name}"
    if loader == "auto" and "folder" in ready:
        return LoaderChoice(name="folder", reason=f"{name} was prepared for the folder loader only; fix it with: {fix}")
    raise UsageError(f"{name} was not prepared for the {choice.name} loader; run: {fix}")
