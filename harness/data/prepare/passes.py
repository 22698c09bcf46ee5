"""The two passes over the images of a preparation: what they hold, and what the loader reads of
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data.names import Split
from harness.data.prepare.contents import names_below_root, source_stamp
from harness.data.prepare.export import StoredImage, stored_listing, write_pngs
from harness.data.prepare.manifest import (
    LOADER_FILES,
    STATISTICS,
    Manifest,
    Origin,
    StoreSettings,
    data_file,
    disk_errors,
    fingerprint,
    printable,
    save_manifest,
    versions,
)
from harness.data.prepare.parts import remove_parts
from harness.data.prepare.scan import Scanned, refuse_bad_images, scan_images, without_bad_images
from harness.data.progress import Progress
from harness.data.sources.base import ImageDataset
from harness.errors import DataError
from harness.serialization import digest
from harness.spec import DataSpec

if TYPE_CHECKING:
    from harness.data.ffcv.one_pass import OnePass


@dataclass(frozen=True)
class Job:
    """One preparation: the splits of `source`. workers: threads of the first pass, processes of the
    second.

    folder: where it goes, unless other images of the same listing are there already.
    few: fewer files than this are stored by one process.
    """

    source: Origin
    folder: Path
    splits: dict[Split, ImageDataset]
    settings: StoreSettings
    workers: int
    few: int
    progress: Progress


def remove_parts_of(folder: Path, manifest: Manifest) -> None:
    """Remove what a preparation goes on from, once the manifest names its files; or what a kill just
    then left.
    """
    for name in LOADER_FILES["ffcv"] if "ffcv" in manifest.loaders else ():
        remove_parts(folder / name)


def source_stamps(kept: dict[Split, ImageDataset]) -> dict[Split, str]:
    """The stamp of each split whose images are files."""
    return {
        name: source_stamp(split.root, names_below_root(split))
        for name, split in kept.items()
        if split.root
    }


def first_pass(
    job: Job, candidates: dict[Path, Manifest], skip: bool, loader: str
) -> tuple[Path, Manifest]:
    """The first pass. Where one of `candidates` holds these images, that is taken up; else statistics
    are written.

    The manifest says "not ready for the folder loader" in both cases: that one reads the source's own
    files.
    """
    if loader == "ffcv" and not candidates and all(split.root for split in job.splits.values()):
        return _written_in_one_pass(job, skip)
    found = {
        name: scan_images(
            split, job.settings.store_size, f"checking {name} images", job.workers, job.progress
        )
        for name, split in job.splits.items()
    }
    kept = _kept(job, found, skip)
    manifest = _new_manifest(job, kept, found)
    for folder, known in candidates.items():
        if known.spec == manifest.spec:
            return folder, _taken_up(folder, manifest, known)
    folder = job.folder
    if folder in candidates:
        folder = folder.with_name(f"{folder.name}-{manifest.spec.listing[:12]}")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with data_file(folder / STATISTICS) as file:
        found["train"].moments.statistics().save(file)
    return folder, _saved(folder, manifest, [STATISTICS])


def _kept(job: Job, found: dict[Split, Scanned], skip: bool) -> dict[Split, ImageDataset]:
    """The splits without bad images. Raises DataError where there are some, unless `skip`."""
    bad = {name: scanned.bad for name, scanned in found.items()}
    if not skip:
        refuse_bad_images(bad["train"] + bad["val"], sum(len(split) for split in job.splits.values()))
    return {name: without_bad_images(split, bad[name]) for name, split in job.splits.items()}


def _written_in_one_pass(job: Job, skip: bool) -> tuple[Path, Manifest]:
    """The first pass, which writes the .beton files, too."""
    passes = {name: _one_pass(job, name, split) for name, split in job.splits.items()}
    found = {
        name: made.write(_writers(job.splits[name], job), f"preparing {name} images", job.progress)
        for name, made in passes.items()
    }
    try:
        kept = _kept(job, found, skip)
    # a data set is not half prepared: fixed images are another listing, in another folder
    except DataError:
        for made in passes.values():
            remove_parts(made.path)
        raise
    with data_file(job.folder / STATISTICS) as file:
        found["train"].moments.statistics().save(file)
    for made in passes.values():
        made.finish()
    manifest = replace(_new_manifest(job, kept, found), loaders=("ffcv",))
    return job.folder, _saved(
        job.folder, manifest, [STATISTICS, *(made.path.name for made in passes.values())]
    )


def _one_pass(job: Job, name: Split, split: ImageDataset) -> OnePass:
    from harness.data.ffcv.one_pass import OnePass  # imports ffcv, which not every machine has

    assert split.root is not None
    stamp = source_stamp(split.root, names_below_root(split))
    return OnePass(job.folder / f"{name}.beton", split, job.settings, stamp)


def _taken_up(folder: Path, manifest: Manifest, known: Manifest) -> Manifest:
    """The same images, found at another path or touched: all that is stored of them stays."""
    loaders = tuple(name for name in known.loaders if name != "folder")
    files = {name: print_ for name, print_ in known.files.items() if name not in LOADER_FILES["folder"]}
    manifest = replace(manifest, loaders=loaders, files=files, versions=known.versions)
    save_manifest(folder, manifest)
    return manifest


def _new_manifest(job: Job, kept: dict[Split, ImageDataset], found: dict[Split, Scanned]) -> Manifest:
    train, val, settings = kept["train"], kept["val"], job.settings
    contents = [scanned.contents for scanned in found.values() if scanned.contents]
    spec = DataSpec(
        name=job.source.name,
        listing=digest([train.listing, val.listing, *contents]),
        classes=len(train.classes),
        train_images=len(train),
        val_images=len(val),
        store_size=settings.store_size,
        store_format=settings.store_format,
        jpeg_quality=settings.jpeg_quality,
        boxes=train.boxes is not None,
        contents=train.contents,
    )
    return Manifest(
        source=job.source,
        spec=spec,
        settings=settings,
        classes=tuple(printable(name) for name in train.classes),
        counts={name: _counts(split) for name, split in kept.items()},
        skipped={name: tuple(scanned.bad) for name, scanned in found.items()},
        ignored={name: split.ignored for name, split in kept.items()},
        digest_of="listing and contents" if contents else "listing",
        stamps=source_stamps(kept),
        roots={},
        loaders=(),
        files={},
        versions=versions(),
    )


def second_pass(job: Job, manifest: Manifest, loader: str) -> Manifest:
    """The second pass: what `loader` reads of the images that were not skipped."""
    roots, files = dict(manifest.roots), []
    for name, split in job.splits.items():
        kept = without_bad_images(split, manifest.skipped[name])
        if loader == "ffcv":
            files.append(_write_beton(job, name, kept))
        else:
            roots[name] = _files_for_folder_loader(job, name, kept)
            files.append(f"{name}.jsonl")
    loaders = tuple(sorted({*manifest.loaders, loader}))
    return _saved(job.folder, replace(manifest, loaders=loaders, roots=roots), files)


def _write_beton(job: Job, name: Split, split: ImageDataset) -> str:
    """Images that are files go on after a kill; others are in memory, and stored in seconds."""
    if split.root is not None:
        made = _one_pass(job, name, split)
        if bad := made.write(_writers(split, job), f"writing {name} images", job.progress).bad:
            remove_parts(made.path)
            raise DataError(f"{bad[0].name} can't be stored: {bad[0].reason}; it was readable just now")
        made.finish()
        return made.path.name
    from harness.data.ffcv.write import write_beton  # imports ffcv, which not every machine has

    path, settings = job.folder / f"{name}.beton", job.settings
    write_beton(
        path,
        len(split),
        StoredImage(split, settings.store_size),
        settings,
        boxes=split.boxes is not None,
        workers=_writers(split, job),
        progress=job.progress,
        name=split.name,
    )
    return path.name


def _writers(split: ImageDataset, job: Job) -> int:
    """Images in memory are stored faster than sent to other processes, and few files faster than one
    starts.
    """
    return 1 if split.root is None or len(split) < job.few else job.workers


def _files_for_folder_loader(job: Job, name: Split, split: ImageDataset) -> str:
    """The listing, and PNG files where there are none yet; the folder they are in, relative to the
    manifest's.
    """
    side = job.settings.store_size
    if split.root is None:
        write_pngs(job.folder / name, split, side, f"writing {name} images", job.progress)
    stored_listing(split, name, job.progress).save(job.folder / f"{name}.jsonl")
    return name if split.root is None else str(split.root)


def _saved(folder: Path, manifest: Manifest, files: list[str]) -> Manifest:
    """The manifest with the fingerprints of new files, written."""
    manifest = replace(
        manifest, files=manifest.files | {name: fingerprint(folder / name) for name in files}
    )
    save_manifest(folder, manifest)
    remove_parts_of(folder, manifest)
    return manifest


def _counts(split: ImageDataset) -> dict[str, int]:
    found = np.bincount(split.labels, minlength=len(split.classes))
    return {printable(name): count for name, count in zip(split.classes, found.tolist(), strict=True)}
