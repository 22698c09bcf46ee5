"""A named source, prepared once: checked, counted, measured, and written into the cache as the loader needs it.

Two passes over the images. The first decodes all of them, so that a broken file is known before anything is written,
and adds up the statistics of the training set. The second writes what the loader reads: .beton files for FFCV; for the
folder loader nothing where the images are files already, PNG files elsewhere. Later calls find it done.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.data.base import Prepared
from harness.data.loaders.factory import choose_loader
from harness.data.names import Split
from harness.data.prepare.export import StoredImage, stored_listing, write_pngs
from harness.data.prepare.manifest import (
    BadImage,
    Manifest,
    Origin,
    StoreSettings,
    data_file,
    disk_errors,
    fingerprint,
    folder_lock,
    load_manifest,
    printable,
    save_manifest,
    versions,
)
from harness.data.prepare.scan import refuse_bad_images, scan_images, without_bad_images
from harness.data.prepare.statistics import Statistics
from harness.data.progress import Progress, silent
from harness.data.sources import source_named
from harness.data.sources.base import ImageDataset, balanced
from harness.errors import DataError, UsageError
from harness.placement import LoaderName
from harness.serialization import digest, to_plain
from harness.setup.cache import cache_folder
from harness.spec import DataSpec

FEW = 1000  # files are stored in about the 2 s that a process takes to start
SPLITS: tuple[Split, Split] = ("train", "val")


@dataclass(frozen=True)
class Job:
    """One preparation: the splits of `source` into `folder`. workers: None is one for each core."""

    source: Origin
    folder: Path
    splits: dict[Split, ImageDataset]
    settings: StoreSettings
    workers: int | None
    progress: Progress


def prepare(
    name: str,
    settings: StoreSettings,
    *,
    path: Path | None = None,
    loader: LoaderName = "auto",
    skip_bad_images: bool = False,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Prepared:
    """The data set `name`, ready to load; done before, it costs a listing of the source.

    path: where the source is, if it needs one; left out, the preparation made last with these settings is taken.
    skip_bad_images: leave out what can't be read. That is remembered: later calls need not say it again.
    workers: None is one for each core. Raises UsageError (a wrong name, loader or setting) and DataError (missing,
    broken, full disk).
    """
    source, settings = source_named(name), _with_quality(settings)
    if source.generate is not None:
        return source.generate(settings, progress)
    base = (cache or cache_folder()) / "data"
    choice = choose_loader(loader)
    if settings.store_format == "jpeg" and choice.name == "folder":
        raise UsageError(f"jpeg is a format of FFCV's files; the folder loader reads raw only ({choice.reason})")
    if path is None and source.needs_path:
        return _prepared_before(name, base, settings, choice.name)
    assert source.open is not None, "a source has open or generate"
    splits = _limited(dict(zip(SPLITS, source.open(path, base, progress), strict=True)), settings.limit)
    origin = Origin(name=name, path=_text(path), contents=splits["train"].contents)
    job = Job(origin, base / f"{name}-{_key(splits, settings)}", splits, settings, workers, progress)
    with folder_lock(job.folder):
        manifest = load_manifest(job.folder) or _measure(job, skip_bad_images)
        if choice.name not in manifest.loaders:
            manifest = _write(job, manifest, choice.name)
    return _opened(job.folder, manifest)


def open_prepared(folder: Path) -> Prepared:
    """The data set that was prepared in `folder`, without reading its source. Raises DataError."""
    manifest = load_manifest(folder)
    if manifest is None:
        raise DataError(f"the prepared data in {folder} is gone or was changed; prepare the data set again")
    return _opened(folder, manifest)


def _opened(folder: Path, manifest: Manifest) -> Prepared:
    statistics = Statistics.load(folder / "statistics.npz")
    return Prepared(folder=folder, manifest=manifest, **vars(statistics))


def _with_quality(settings: StoreSettings) -> StoreSettings:
    if settings.store_format == "raw":
        if settings.jpeg_quality is not None:
            raise UsageError("a JPEG quality goes with --format jpeg only; leave it out, or store as jpeg")
        return settings
    return replace(settings, jpeg_quality=90 if settings.jpeg_quality is None else settings.jpeg_quality)


def _limited(splits: dict[Split, ImageDataset], limit: tuple[int, int] | None) -> dict[Split, ImageDataset]:
    if limit is None:
        return splits
    return {name: balanced(split, count) for (name, split), count in zip(splits.items(), limit, strict=True)}


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"the name {printable(str(path))} is not valid UTF-8; rename the folder") from None
    return str(path.absolute())


def _key(splits: dict[Split, ImageDataset], settings: StoreSettings) -> str:
    return digest([[split.listing for split in splits.values()], to_plain(settings)])[:12]


def _prepared_before(name: str, base: Path, settings: StoreSettings, loader: str) -> Prepared:
    """The newest whole preparation of `name` with these settings."""
    folders = sorted(base.glob(f"{name}-*/manifest.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in folders:
        manifest = load_manifest(file.parent)
        if manifest and manifest.settings == settings and loader in manifest.loaders:
            return _opened(file.parent, manifest)
    raise UsageError(
        f"{name} is not prepared {_in_words(settings)} for the {loader} loader, and its folder is not known; "
        f"run: python -m harness data prepare {name} --path FOLDER {_options(settings)}"
    )


def _in_words(settings: StoreSettings) -> str:
    limit = "" if settings.limit is None else f" with limits of {settings.limit[0]} and {settings.limit[1]} images"
    jpeg = "" if settings.store_format == "raw" else f" as JPEG of quality {settings.jpeg_quality}"
    return f"at {settings.store_size} pixels{jpeg}{limit}"


def _options(settings: StoreSettings) -> str:
    words = [f"--size {settings.store_size}"]
    if settings.store_format == "jpeg":
        words.append(f"--format jpeg --jpeg-quality {settings.jpeg_quality}")
    if settings.limit is not None:
        words.append(f"--limit-train {settings.limit[0]} --limit-val {settings.limit[1]}")
    return " ".join(words)


def _measure(job: Job, skip: bool) -> Manifest:
    """The first pass; leaves statistics and a manifest without any loader's files."""
    with disk_errors(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
    found = {
        name: scan_images(split, job.settings.store_size, f"checking {name} images", job.workers, job.progress)
        for name, split in job.splits.items()
    }
    bad = {name: faults for name, (faults, _) in found.items()}
    if not skip:
        refuse_bad_images(bad["train"] + bad["val"], sum(len(split) for split in job.splits.values()))
    kept = {name: without_bad_images(split, bad[name]) for name, split in job.splits.items()}
    with data_file(job.folder / "statistics.npz") as file:
        found["train"][1].statistics().save(file)
    return _saved(job.folder, _new_manifest(job, kept, bad), ["statistics.npz"])


def _new_manifest(job: Job, kept: dict[Split, ImageDataset], bad: dict[Split, list[BadImage]]) -> Manifest:
    train, val, settings = kept["train"], kept["val"], job.settings
    spec = DataSpec(
        name=job.source.name,
        listing=digest([train.listing, val.listing]),
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
        skipped={name: tuple(faults) for name, faults in bad.items()},
        ignored={name: split.ignored for name, split in kept.items()},
        roots={},
        loaders=(),
        files={},
        versions=versions(),
    )


def _write(job: Job, manifest: Manifest, loader: str) -> Manifest:
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
    from harness.data.ffcv.write import write_beton  # imports ffcv, which not every machine has

    path, settings = job.folder / f"{name}.beton", job.settings
    write_beton(
        path,
        len(split),
        StoredImage(split, settings.store_size),
        settings,
        boxes=split.boxes is not None,
        workers=_writers(split, job.workers),
        progress=job.progress,
        name=split.name,
    )
    return path.name


def _writers(split: ImageDataset, workers: int | None) -> int:
    """Images in memory are stored faster than sent to other processes, and few files faster than one starts."""
    if split.root is None:
        return 1
    return workers or (1 if len(split) < FEW else len(os.sched_getaffinity(0)))


def _files_for_folder_loader(job: Job, name: Split, split: ImageDataset) -> str:
    """The listing, and PNG files where there are none yet; the folder they are in, relative to the manifest's."""
    side = job.settings.store_size
    if split.root is None:
        write_pngs(job.folder / name, split, side, f"writing {name} images", job.progress)
    stored_listing(split, side).save(job.folder / f"{name}.jsonl")
    return name if split.root is None else str(split.root)


def _saved(folder: Path, manifest: Manifest, files: list[str]) -> Manifest:
    """The manifest with the fingerprints of new files, written."""
    manifest = replace(manifest, files=manifest.files | {name: fingerprint(folder / name) for name in files})
    save_manifest(folder, manifest)
    return manifest


def _counts(split: ImageDataset) -> dict[str, int]:
    found = np.bincount(split.labels, minlength=len(split.classes))
    return {printable(name): count for name, count in zip(split.classes, found.tolist(), strict=True)}
