"""A named source, prepared once: checked, counted, measured, and written into the cache as the loader needs it.

The first pass reads all images: it hashes each file, so that the data set is known by its contents; it decodes it, so
that a broken file is known; it adds up the statistics of the training set. For FFCV it also writes the .beton files, so
that the source is read once, and goes on after a kill (ffcv/one_pass.py). A second pass is needed where the first one
can't know what to write: for images that are no files, for the folder loader's PNG files, and if there is a preparation
of the same listing already.

Later calls find it done. A folder in the cache is named by the source's listing and the settings; a second one with
the same listing and other contents gets a name of its own. Where the source was moved or touched, the first pass is
made again, and its digest says which of the folders holds these images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data.base import Prepared
from harness.data.loaders.factory import choose_loader
from harness.data.names import JPEG_QUALITY, Split
from harness.data.prepare.contents import names_below_root, newer_than, source_stamp
from harness.data.prepare.export import StoredImage, stored_listing, write_pngs
from harness.data.prepare.manifest import (
    LOADER_FILES,
    MANIFEST,
    STATISTICS,
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
from harness.data.prepare.parts import remove_parts
from harness.data.prepare.scan import Scanned, refuse_bad_images, scan_images, without_bad_images
from harness.data.prepare.statistics import Statistics
from harness.data.progress import Progress, silent
from harness.data.sources import source_named
from harness.data.sources.base import ImageDataset, balanced
from harness.errors import DataError, UsageError
from harness.files import remove_temporary_files
from harness.limits import usable_cores
from harness.placement import LoaderName
from harness.serialization import digest, to_plain
from harness.setup.cache import cache_folder
from harness.spec import DataSpec

if TYPE_CHECKING:
    from harness.data.ffcv.one_pass import OnePass

FEW = 1000  # files are stored in about the 2 s that a process takes to start
SPLITS: tuple[Split, Split] = ("train", "val")


@dataclass(frozen=True)
class Job:
    """One preparation: the splits of `source`. workers: threads of the first pass, processes of the second.

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
    """The data set `name`, ready to load; done before, it costs a listing of the source and the times of its files.

    path: where the source is, if it needs one; left out, the preparation made last with these settings is taken.
    skip_bad_images: leave out what can't be read. That is remembered: later calls need not say it again.
    workers: None is one for each core that this process may use.
    Raises UsageError (a wrong name, loader or setting) and DataError (missing, broken, full disk).
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
    job = Job(
        source=origin,
        folder=base / f"{name}-{_key(splits, settings)}",
        splits=splits,
        settings=settings,
        workers=workers or usable_cores(),
        few=0 if workers else FEW,
        progress=progress,
    )
    with folder_lock(job.folder):
        candidates = _candidates(job.folder)
        found = next((item for item in candidates.items() if _is_of_these_files(job, *item)), None)
        folder, manifest = found or _measure(job, candidates, skip_bad_images, choice.name)
        if choice.name not in manifest.loaders:
            manifest = _write(replace(job, folder=folder), manifest, choice.name)
    return _opened(folder, manifest)


def open_prepared(folder: Path) -> Prepared:
    """The data set that was prepared in `folder`, without reading its source. Raises DataError."""
    manifest = load_manifest(folder)
    if manifest is None:
        raise DataError(f"the prepared data in {folder} is gone or was changed; prepare the data set again")
    return _opened(folder, manifest)


def _opened(folder: Path, manifest: Manifest) -> Prepared:
    statistics = Statistics.load(folder / STATISTICS)
    return Prepared(folder=folder, manifest=manifest, **vars(statistics))


def _with_quality(settings: StoreSettings) -> StoreSettings:
    if settings.store_format == "raw":
        if settings.jpeg_quality is not None:
            raise UsageError("a JPEG quality goes with --format jpeg only; leave it out, or store as jpeg")
        return settings
    return replace(settings, jpeg_quality=JPEG_QUALITY if settings.jpeg_quality is None else settings.jpeg_quality)


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
        try:
            manifest = load_manifest(file.parent)
        except DataError:  # of a later version; it hides no folder that this one can read
            continue
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


def _candidates(folder: Path) -> dict[Path, Manifest]:
    """The whole preparations of sources with the same listing. Call it under the lock of `folder`."""
    found = dict[Path, Manifest]()
    for place in (folder, *sorted(folder.parent.glob(f"{folder.name}-*/"))):
        remove_temporary_files(place)
        if manifest := load_manifest(place):
            found[place] = manifest
            _remove_parts(place, manifest)
    return found


def _remove_parts(folder: Path, manifest: Manifest) -> None:
    """Remove what a preparation goes on from, once the manifest names its files; or what a kill just then left."""
    for name in LOADER_FILES["ffcv"] if "ffcv" in manifest.loaders else ():
        remove_parts(folder / name)


def _is_of_these_files(job: Job, folder: Path, manifest: Manifest) -> bool:
    """Whether the source is the one that was prepared, in the same place and not changed since."""
    kept = {name: without_bad_images(split, manifest.skipped[name]) for name, split in job.splits.items()}
    if manifest.stamps or not any(split.root for split in kept.values()):
        return manifest.stamps == _stamps(kept)
    if manifest.source.path != job.source.path:  # formats 1 and 2 have no stamps
        return False
    prepared_ns = (folder / MANIFEST).stat().st_mtime_ns
    files = [(split.root, names_below_root(split)) for split in kept.values() if split.root]
    return not any(newer_than(root, names, prepared_ns) for root, names in files)


def _stamps(kept: dict[Split, ImageDataset]) -> dict[Split, str]:
    return {name: source_stamp(split.root, names_below_root(split)) for name, split in kept.items() if split.root}


def _measure(job: Job, candidates: dict[Path, Manifest], skip: bool, loader: str) -> tuple[Path, Manifest]:
    """The first pass. Where one of `candidates` holds these images, that is taken up; else statistics are written.

    The manifest says "not ready for the folder loader" in both cases: that one reads the source's own files.
    """
    if loader == "ffcv" and not candidates and all(split.root for split in job.splits.values()):
        return _written_in_one_pass(job, skip)
    found = {
        name: scan_images(split, job.settings.store_size, f"checking {name} images", job.workers, job.progress)
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
    except DataError:  # a data set is not half prepared: fixed images are another listing, in another folder
        for made in passes.values():
            remove_parts(made.path)
        raise
    with data_file(job.folder / STATISTICS) as file:
        found["train"].moments.statistics().save(file)
    for made in passes.values():
        made.finish()
    manifest = replace(_new_manifest(job, kept, found), loaders=("ffcv",))
    return job.folder, _saved(job.folder, manifest, [STATISTICS, *(made.path.name for made in passes.values())])


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
        stamps=_stamps(kept),
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
    """Images in memory are stored faster than sent to other processes, and few files faster than one starts."""
    return 1 if split.root is None or len(split) < job.few else job.workers


def _files_for_folder_loader(job: Job, name: Split, split: ImageDataset) -> str:
    """The listing, and PNG files where there are none yet; the folder they are in, relative to the manifest's."""
    side = job.settings.store_size
    if split.root is None:
        write_pngs(job.folder / name, split, side, f"writing {name} images", job.progress)
    stored_listing(split, name, job.progress).save(job.folder / f"{name}.jsonl")
    return name if split.root is None else str(split.root)


def _saved(folder: Path, manifest: Manifest, files: list[str]) -> Manifest:
    """The manifest with the fingerprints of new files, written."""
    manifest = replace(manifest, files=manifest.files | {name: fingerprint(folder / name) for name in files})
    save_manifest(folder, manifest)
    _remove_parts(folder, manifest)
    return manifest


def _counts(split: ImageDataset) -> dict[str, int]:
    found = np.bincount(split.labels, minlength=len(split.classes))
    return {printable(name): count for name, count in zip(split.classes, found.tolist(), strict=True)}
