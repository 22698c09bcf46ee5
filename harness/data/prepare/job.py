"""A named source, prepared once: checked, counted, measured, and written into the cache as the loader
needs it.

The first pass reads all images: it hashes each file, so that the data set is known by its contents; it
decodes it, so that a broken file is known; it adds up the statistics of the training set. For FFCV it
also writes the .beton files, so that the source is read once, and goes on after a kill
(ffcv/one_pass.py). A second pass is needed where the first one can't know what to write: for images
that are no files, for the folder loader's PNG files, and if there is a preparation of the same listing
already.

Later calls find it done. A folder in the cache is named by the source's listing and the settings; a
second one with the same listing and other contents gets a name of its own. Where the source was moved
or touched, the first pass is made again, and its digest says which of the folders holds these images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.base import Prepared
from harness.data.loaders.factory import choose_loader
from harness.data.names import JPEG_QUALITY, Split
from harness.data.prepare.contents import names_below_root, newer_than
from harness.data.prepare.manifest import (
    MANIFEST,
    STATISTICS,
    Manifest,
    Origin,
    StoreSettings,
    folder_lock,
    load_manifest,
    printable,
)
from harness.data.prepare.passes import Job, first_pass, remove_parts_of, second_pass, source_stamps
from harness.data.prepare.scan import without_bad_images
from harness.data.prepare.statistics import Statistics
from harness.data.progress import Progress, silent
from harness.data.sources import source_named, sources
from harness.data.sources.base import ImageDataset, balanced
from harness.errors import DataError, UsageError
from harness.files import remove_temporary_files
from harness.limits import usable_cores
from harness.placement import LoaderName
from harness.serialization import digest, to_plain
from harness.setup.cache import cache_folder
from harness.spec import CIFAR_10_ORIGINAL, DataSpec

if TYPE_CHECKING:
    pass

FEW = 1000  # files are stored in about the 2 s that a process takes to start
SPLITS: tuple[Split, Split] = ("train", "val")


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
    """The data set `name`, ready to load; done before, it costs a listing of the source and the times
    of its files.

    path: where the source is, if it needs one; left out, the preparation made last with these settings
    is taken.
    skip_bad_images: leave out what can't be read. That is remembered: later calls need not say it
    again.
    workers: None is one for each core that this process may use.
    Raises UsageError (a wrong name, loader or setting) and DataError (missing, broken, full disk).
    """
    source, settings = source_named(name), _with_quality(settings)
    if source.generate is not None:
        return source.generate(settings, progress)
    base = (cache or cache_folder()) / "data"
    choice = choose_loader(loader)
    if settings.store_format == "jpeg" and choice.name == "folder":
        raise UsageError(
            f"jpeg is a format of FFCV's files; the folder loader reads raw only ({choice.reason})"
        )
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
        folder, manifest = found or first_pass(job, candidates, skip_bad_images, choice.name)
        if choice.name not in manifest.loaders:
            manifest = second_pass(replace(job, folder=folder), manifest, choice.name)
    return _opened(folder, manifest)


def open_prepared(folder: Path) -> Prepared:
    """The data set that was prepared in `folder`, without reading its source. Raises DataError."""
    manifest = load_manifest(folder)
    if manifest is None:
        raise DataError(
            f"the prepared data in {folder} is gone or was changed; prepare the data set again"
        )
    return _opened(folder, manifest)


def find_prepared(spec: DataSpec, *, cache: Path | None = None) -> Prepared:
    """The data set with the images of `spec`, stored as they were there, if this machine has it prepared.

    Its source is not read. Raises DataError, which names the command that prepares it.
    """
    settings = StoreSettings(
        store_size=spec.store_size, store_format=spec.store_format, jpeg_quality=spec.jpeg_quality
    )
    source = sources().get(spec.name)
    if source is not None and source.generate is not None:
        limit = (spec.train_images, spec.val_images)
        made = source.generate(replace(settings, limit=limit), silent)
        if made.spec == spec:
            return made
    for folder, manifest in _preparations(spec.name, (cache or cache_folder()) / "data"):
        if manifest.spec == spec:
            return _opened(folder, manifest)
    copied = spec.contents not in ("", CIFAR_10_ORIGINAL)  # these may be downloaded
    raise DataError(
        f"{spec.name} {_in_words(settings)} with {spec.train_images:,} training and "
        f"{spec.val_images:,} validation images and the digest {spec.listing[:12]} is not prepared on "
        f"this machine; run: python -m harness data prepare {spec.name}"
        f"{' --path FOLDER' if copied or (source and source.needs_path) else ''} {_options(settings)}"
    )


def _opened(folder: Path, manifest: Manifest) -> Prepared:
    statistics = Statistics.load(folder / STATISTICS)
    return Prepared(folder=folder, manifest=manifest, **vars(statistics))


def _with_quality(settings: StoreSettings) -> StoreSettings:
    if settings.store_format == "raw":
        if settings.jpeg_quality is not None:
            raise UsageError(
                "a JPEG quality goes with --format jpeg only; leave it out, or store as jpeg"
            )
        return settings
    return replace(
        settings, jpeg_quality=JPEG_QUALITY if settings.jpeg_quality is None else settings.jpeg_quality
    )


def _limited(
    splits: dict[Split, ImageDataset], limit: tuple[int, int] | None
) -> dict[Split, ImageDataset]:
    if limit is None:
        return splits
    return {
        name: balanced(split, count) for (name, split), count in zip(splits.items(), limit, strict=True)
    }


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"the name {printable(str(path))} is not valid UTF-8; rename the folder"
        ) from None
    return str(path.absolute())


def _key(splits: dict[Split, ImageDataset], settings: StoreSettings) -> str:
    return digest([[split.listing for split in splits.values()], to_plain(settings)])[:12]


def _prepared_before(name: str, base: Path, settings: StoreSettings, loader: str) -> Prepared:
    """The newest whole preparation of `name` with these settings."""
    for folder, manifest in _preparations(name, base):
        if manifest.settings == settings and loader in manifest.loaders:
            return _opened(folder, manifest)
    raise UsageError(
        f"{name} is not prepared {_in_words(settings)} for the {loader} loader, and its folder is not "
        f"known; run: python -m harness data prepare {name} --path FOLDER {_options(settings)}"
    )


def _preparations(name: str, base: Path) -> Iterator[tuple[Path, Manifest]]:
    """The whole preparations of `name`, newest first."""
    files = base.glob(f"{name}-*/{MANIFEST}")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            manifest = load_manifest(file.parent)
        except DataError:  # of a later version; it hides no folder that this one can read
            continue
        if manifest is not None:
            yield file.parent, manifest


def _in_words(settings: StoreSettings) -> str:
    limit = (
        ""
        if settings.limit is None
        else f" with limits of {settings.limit[0]} and {settings.limit[1]} images"
    )
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
            remove_parts_of(place, manifest)
    return found


def _is_of_these_files(job: Job, folder: Path, manifest: Manifest) -> bool:
    """Whether the source is the one that was prepared, in the same place and not changed since."""
    kept = {
        name: without_bad_images(split, manifest.skipped[name]) for name, split in job.splits.items()
    }
    if manifest.stamps or not any(split.root for split in kept.values()):
        return manifest.stamps == source_stamps(kept)
    if manifest.source.path != job.source.path:  # formats 1 and 2 have no stamps
        return False
    prepared_ns = (folder / MANIFEST).stat().st_mtime_ns
    files = [(split.root, names_below_root(split)) for split in kept.values() if split.root]
    return not any(newer_than(root, names, prepared_ns) for root, names in files)
