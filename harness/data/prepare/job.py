"""A named source, prepared once: checked, counted, measured, and written into the cache as the loader needs it.

Two passes over the pictures. The first decodes all of them, so that a broken file is known before anything is written,
and adds up the statistics of the training set. The second writes what the loader reads: .beton files for FFCV; for the
folder loader nothing where the pictures are files already, PNG files elsewhere. Later calls find it done.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.data.base import Prepared, Progress, Split, silent
from harness.data.loaders.factory import LoaderName, choose_loader
from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.export import StoredItem, stored_listing, write_pngs
from harness.data.prepare.manifest import (
    fingerprint,
    full_disk_told,
    load_manifest,
    one_at_a_time,
    save_manifest,
    versions,
    write_whole,
)
from harness.data.prepare.scan import BadImage, check, refuse, without
from harness.data.prepare.statistics import Statistics
from harness.data.sources import source_named
from harness.data.sources.base import Source, SourceSplit, balanced
from harness.errors import UsageError
from harness.serialization import digest, from_json, to_json, to_plain
from harness.setup.cache import cache_folder
from harness.spec import DataSpec

FEW = 1000  # files are stored in about the 2 s that a process takes to start
SPLITS: tuple[Split, Split] = ("train", "val")


@dataclass(frozen=True)
class Settings:
    """How pictures are stored; part of what names the folder in the cache."""

    store_size: int
    store_format: Literal["raw", "jpeg"]
    jpeg_quality: int | None
    limit: tuple[int, int] | None

    def plain(self) -> dict[str, Any]:
        return {**vars(self), "limit": list(self.limit) if self.limit else None}


def prepare(
    name: str,
    *,
    path: Path | None = None,
    store_size: int,
    store_format: Literal["raw", "jpeg"] = "raw",
    jpeg_quality: int | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    loader: LoaderName = "auto",
    skip_bad_images: bool = False,
    limit: tuple[int, int] | None = None,
    progress: Progress = silent,
) -> Prepared:
    """The data set `name`, ready to load; done before, it costs a listing of the source.

    path: where the source lies, if it needs one; left out, the preparation made last with these settings is taken.
    limit: this many training and validation images, balanced by class. workers: None is one for each core.
    Raises UsageError (a wrong name, loader or setting) and DataError (missing, broken, full disk).
    """
    source = source_named(name)
    base = (cache or cache_folder()) / "data"
    if name == "synthetic":
        return prepare_synthetic(store_size, base / name, limit, progress)
    settings = Settings(store_size, store_format, _quality(store_format, jpeg_quality), limit)
    choice = choose_loader(loader)
    if store_format == "jpeg" and choice.name == "folder":
        raise UsageError(
            f"jpeg is a format of FFCV's files and the folder loader takes none ({choice.reason}); use raw"
        )
    if path is None and source.needs_path:
        return _prepared_before(name, base, settings, choice.name, skip_bad_images)
    splits = _limited(source.open(path, base, progress), limit)
    folder = base / f"{name}-{_key(splits, settings)}"
    with one_at_a_time(folder):
        job = _Job(source, folder, settings, workers, progress)
        manifest = load_manifest(folder)
        if manifest is None:
            manifest = job.measure(splits, skip_bad_images, path)
        elif not skip_bad_images:
            _refuse_skipped(manifest)
        if choice.name not in manifest["loaders"]:
            manifest = job.write(splits, manifest, choice.name)
    return _load(folder, manifest)


def _quality(store_format: str, jpeg_quality: int | None) -> int | None:
    if store_format == "raw":
        if jpeg_quality is not None:
            raise UsageError("a JPEG quality goes with --format jpeg only; leave it out, or store as jpeg")
        return None
    return 90 if jpeg_quality is None else jpeg_quality


def _limited(splits: tuple[SourceSplit, SourceSplit], limit: tuple[int, int] | None) -> list[SourceSplit]:
    if limit is None:
        return list(splits)
    return [balanced(split, count) for split, count in zip(splits, limit, strict=True)]


def _key(splits: list[SourceSplit], settings: Settings) -> str:
    return digest([[split.listing for split in splits], settings.plain()])[:12]


def _prepared_before(name: str, base: Path, settings: Settings, loader: str, skip: bool) -> Prepared:
    """The newest whole preparation of `name` with these settings."""
    folders = sorted(base.glob(f"{name}-*/manifest.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in folders:
        manifest = load_manifest(file.parent)
        if manifest and manifest["settings"] == settings.plain() and loader in manifest["loaders"]:
            if not skip:
                _refuse_skipped(manifest)
            return _load(file.parent, manifest)
    raise UsageError(
        f"{name} is not prepared at {settings.store_size} pixels and its folder is not known; "
        f"run: python -m harness data prepare {name} --path FOLDER --size {settings.store_size}"
    )


def _refuse_skipped(manifest: dict[str, Any]) -> None:
    """Images left out once are not left out silently ever after."""
    bad = [BadImage(row["index"], row["name"], row["reason"]) for row in manifest["skipped"]]
    refuse(bad, len(bad) + manifest["spec"]["train_images"] + manifest["spec"]["val_images"])


def _load(folder: Path, manifest: dict[str, Any]) -> Prepared:
    statistics = Statistics.load(folder / "statistics.npz")
    spec = from_json(to_json(manifest["spec"], dict[str, Any]), DataSpec)
    return Prepared(spec=spec, classes=tuple(manifest["classes"]), folder=folder, manifest=manifest, **vars(statistics))


class _Job:
    """One preparation at work on `folder`, under its lock."""

    def __init__(
        self, source: Source, folder: Path, settings: Settings, workers: int | None, progress: Progress
    ) -> None:
        self.source, self.folder, self.settings = source, folder, settings
        self.workers, self.progress = workers, progress

    def measure(self, splits: list[SourceSplit], skip: bool, path: Path | None) -> dict[str, Any]:
        """The first pass; leaves statistics, listings and a manifest without any loader's files."""
        with full_disk_told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        found = [
            check(split, self.settings.store_size, f"checking {name} images", self.workers, self.progress)
            for name, split in zip(SPLITS, splits, strict=True)
        ]
        bad = [faults for faults, _ in found]
        if not skip:
            refuse(bad[0] + bad[1], sum(len(split) for split in splits))
        kept = [without(split, faults) for split, faults in zip(splits, bad, strict=True)]
        write_whole(self.folder / "statistics.npz", found[0][1].statistics().save)
        return self._save(self._manifest(kept, bad, path), ["statistics.npz"])

    def write(self, splits: list[SourceSplit], manifest: dict[str, Any], loader: str) -> dict[str, Any]:
        """The second pass: what `loader` reads of the pictures that were not skipped."""
        kept = [_kept(split, name, manifest) for name, split in zip(SPLITS, splits, strict=True)]
        files = []
        for name, split in zip(SPLITS, kept, strict=True):
            if loader == "ffcv":
                files.append(self._write_beton(name, split))
            else:
                manifest["roots"][name] = self._files_for_folder_loader(name, split)
                files.append(f"{name}.jsonl")
        manifest["loaders"] = sorted({*manifest["loaders"], loader})
        return self._save(manifest, files)

    def _write_beton(self, name: Split, split: SourceSplit) -> str:
        path, settings = self.folder / f"{name}.beton", self.settings
        from harness.data.ffcv.write import write_beton  # imports ffcv, which not every machine has

        write_beton(
            path,
            len(split),
            StoredItem(split, settings.store_size),
            side=settings.store_size,
            store_format=settings.store_format,
            jpeg_quality=settings.jpeg_quality,
            boxes=split.boxes is not None,
            workers=self._writers(split),
            progress=self.progress,
            name=split.name,
        )
        return path.name

    def _writers(self, split: SourceSplit) -> int:
        """Pictures in memory are stored faster than sent to other processes, and few files faster than one starts."""
        if split.root is None:
            return 1
        return self.workers or (1 if len(split) < FEW else len(os.sched_getaffinity(0)))

    def _files_for_folder_loader(self, name: Split, split: SourceSplit) -> str:
        """The listing, and PNG files where there are none yet; the folder they lie in, relative to the manifest's."""
        side = self.settings.store_size
        if split.root is None:
            write_pngs(self.folder / name, split, side, f"writing {name} images", self.progress)
        stored_listing(split, side).save(self.folder / f"{name}.jsonl")
        return name if split.root is None else str(split.root)

    def _manifest(self, kept: list[SourceSplit], bad: list[list[BadImage]], path: Path | None) -> dict[str, Any]:
        train, val = kept
        spec = DataSpec(
            name=self.source.name,
            listing=digest([train.listing, val.listing]),
            classes=len(train.classes),
            train_images=len(train),
            val_images=len(val),
            store_size=self.settings.store_size,
            store_format=self.settings.store_format,
            jpeg_quality=self.settings.jpeg_quality,
            boxes=train.boxes is not None,
        )
        return {
            "source": {"name": self.source.name, "path": str(path.absolute()) if path else None},
            "spec": to_plain(spec),
            "classes": list(train.classes),
            "counts": {name: _counts(split) for name, split in zip(SPLITS, kept, strict=True)},
            "skipped": [
                {"split": name, "index": image.index, "name": image.name, "reason": image.reason}
                for name, faults in zip(SPLITS, bad, strict=True)
                for image in faults
            ],
            "settings": self.settings.plain(),
            "resize": "short side to store_size, PIL bilinear, then the central square",
            "roots": {},
            "loaders": [],
            "files": {},
            "versions": versions(),
        }

    def _save(self, manifest: dict[str, Any], files: list[str]) -> dict[str, Any]:
        manifest["files"] |= {name: fingerprint(self.folder / name) for name in files}
        save_manifest(self.folder, manifest)
        whole = load_manifest(self.folder)
        assert whole is not None
        return whole


def _kept(split: SourceSplit, name: Split, manifest: dict[str, Any]) -> SourceSplit:
    return without(
        split, [BadImage(b["index"], b["name"], b["reason"]) for b in manifest["skipped"] if b["split"] == name]
    )


def _counts(split: SourceSplit) -> dict[str, int]:
    found = np.bincount(split.labels, minlength=len(split.classes))
    return dict(zip(split.classes, found.tolist(), strict=True))
