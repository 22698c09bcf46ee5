"""The store of run records: results/.open/ while a run goes on, results/<run_id>/ once it is sealed
by one rename.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from harness.errors import AlreadyRunning, RecordError
from harness.files import LockHeldError, is_locked, locked, not_locked_by_others, take_lock
from harness.machine.environment import Environment
from harness.records.files import writing
from harness.records.record import RUN_ID, RunRecord
from harness.records.schema import Refused
from harness.records.sweep import GUARD, sweep
from harness.records.verify import load_verified, verify
from harness.records.writer import Writer
from harness.signals import Terminated, terminable
from harness.spec import RunSpec

TRIAL = ".rename-test"
__all__ = ["RunRecord", "Store", "Terminated", "Writer", "run_id_of", "verify"]


def utc_now() -> datetime:
    return datetime.now(UTC)


def run_id_of(spec: RunSpec, when: datetime) -> str:
    """A name that sorts by time and says what ran; the last 8 digits begin the spec's digest."""
    parts = (spec.variant, spec.geometry, spec.data.name, f"s{spec.seed}")
    plain = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part) for part in parts)
    return f"{run_id_start(when)}-{plain}-{spec.digest[:8]}"


def run_id_start(when: datetime) -> str:
    """How the names of runs begin that start then."""
    return f"{when:%Y%m%dT%H%M%SZ}"


class Verified(NamedTuple):
    """Records that are as they were sealed, by run_id, and the others with the reason why they don't
    count.
    """

    records: list[RunRecord]
    refused: tuple[Refused, ...]


class Store:
    """The records under one results folder. Nothing is touched before `open` or `make`.

    A run holds a lock of its digest for as long as it lives. Locks are taken and tried only under a
    guard that is held for moments, so that trying whether a run lives can't make another one fail.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def open(
        self,
        spec: RunSpec,
        env: Environment,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> Iterator[Writer]:
        """A writer for one run. However the block ends, the run is sealed: ok, failed or interrupted.

        SIGTERM raises Terminated (a KeyboardInterrupt) within the block. Stale folders of killed runs
        are swept first; `writer.swept` says what became of them. Raises AlreadyRunning, and RecordError
        where nothing can be written.
        """
        with terminable():
            writer, lock = self._begin(spec, env, clock, now)
            try:
                yield writer
            except BaseException as error:
                writer.end(error)
                raise
            else:
                writer.end(None)
            finally:
                os.close(lock)

    def make(self) -> None:
        """Raises RecordError where no record can be sealed: better known before data is prepared than
        after training.

        It renames an empty folder from .open to the results, as sealing does: another file system or a
        read-only results folder refuses that.
        """
        with writing(self._open):
            self._open.mkdir(parents=True, exist_ok=True)
        with self._guard(), writing(self.root):
            (self._open / TRIAL).mkdir(exist_ok=True)
            (self._open / TRIAL).replace(self.root / TRIAL)  # rename(2), as sealing does
            (self.root / TRIAL).rmdir()

    def sweep(self, spec: RunSpec, now: Callable[[], datetime] = utc_now) -> tuple[str, ...]:
        """Seal what killed runs left, those of `spec` too, and begin no run. Returns a sentence for
        each of them.

        Raises AlreadyRunning, and RecordError where nothing can be written.
        """
        self.make()
        with self._guard():
            lock = _take(self._open / f"{spec.digest}.lock")
            try:
                return sweep(self._open, spec.digest, now)
            finally:
                os.close(lock)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Wait for the lock under which runs begin; it is held for moments only."""
        path = self._open / GUARD
        with ExitStack() as held:
            with writing(path):
                held.enter_context(locked(path))
            yield

    def _begin(
        self, spec: RunSpec, env: Environment, clock: Callable[[], float], now: Callable[[], datetime]
    ) -> tuple[Writer, int]:
        self.make()
        with self._guard():
            lock = _take(self._open / f"{spec.digest}.lock")
            try:
                swept = sweep(self._open, spec.digest, now)
                writer = Writer(self._new_folder(spec, now()), spec, clock=clock, now=now, swept=swept)
                writer.begin(env)
            except BaseException:
                os.close(lock)
                raise
        return writer, lock

    def _new_folder(self, spec: RunSpec, when: datetime) -> Path:
        name = base = run_id_of(spec, when)
        number = 1
        while (self.root / name).exists() or (self._open / name).exists():
            number += 1
            name = f"{base}-{number}"
        with writing(self._open / name):
            (self._open / name).mkdir()
        return self._open / name

    @property
    def _open(self) -> Path:
        return self.root / ".open"

    def living(self) -> dict[str, Path]:
        """The runs that are going on in some process: digest -> folder. This writes nothing."""
        with not_locked_by_others(self._open / GUARD):
            locks = [path for path in self._open.glob("*.lock") if path.name != GUARD]
            held = [path.stem for path in locks if is_locked(path)]
        found: dict[str, Path] = {}
        for folder in record_folders(self._open):
            match = RUN_ID.fullmatch(folder.name)
            assert match is not None  # record_folders gives no other
            found |= {digest: folder for digest in held if digest[:8] == match["digest"]}
        return found

    def records(self) -> list[RunRecord]:
        """The sealed records directly under the folder, by run_id; those under reference/ came with the
        clone.

        Raises RecordError at a record that can't be read. Checksums are not checked: see `verified`.
        """
        return [RunRecord.load(path) for path in record_folders(self.root)]

    def verified(self) -> Verified:
        """The records directly under the folder whose numbers may count, and why the others' may
        not.
        """
        return _verified(record_folders(self.root))

    def verified_reference(self, study: str | None = None) -> Verified:
        """The same of reference/<study>/, or of all studies there."""
        return _verified(self.reference_folders(study))

    def reference_folders(self, study: str | None = None) -> list[Path]:
        home = self.root / "reference"
        studies = [home / study] if study else sorted(path for path in home.glob("*") if path.is_dir())
        return [path for folder in studies for path in record_folders(folder)]

    def folders(self) -> list[Path]:
        """Every sealed record's folder, own ones first."""
        return [*record_folders(self.root), *self.reference_folders()]

    def folders_of(self, digest: str) -> list[Path]:
        """The sealed records' folders of the specs whose digest begins as this one, own ones only,
        oldest first.
        """
        if not self.root.is_dir():
            return []
        matches = ((path, RUN_ID.fullmatch(path.name)) for path in self.root.glob(f"*-{digest[:8]}*"))
        return sorted(
            path for path, match in matches if match is not None and match["digest"] == digest[:8]
        )

    def finished_since(self, digest: str, run_id: str) -> list[RunRecord]:
        """The records of a spec that ended ok and began no earlier than the run `run_id`, oldest
        first.
        """
        found = self.sealed_since(digest, run_id)
        return [record for record in found if record.summary.status == "ok"]

    def sealed_since(self, digest: str, run_id: str) -> list[RunRecord]:
        """The same with any status."""
        found = _verified(path for path in self.folders_of(digest) if path.name >= run_id).records
        return [record for record in found if record.spec.digest == digest]


def _take(path: Path) -> int:
    """The handle of a run's lock. Raises AlreadyRunning where a living process has it."""
    try:
        with writing(path):
            return take_lock(path, wait=False)
    except LockHeldError as held:
        holder = held.holder or "another"
        raise AlreadyRunning(
            f"the same run is going on in process {holder}; wait for it to end, or stop it with: kill "
            f"{holder}"
        ) from None


def _verified(folders: Iterable[Path]) -> Verified:
    records, refused = [], []
    for path in folders:
        try:
            records.append(load_verified(path))
        except (RecordError, OSError) as error:
            reason = (
                str(error)
                .replace(f"{path}/", "")
                .replace(f"; see: python -m harness verify {path}", "")
            )
            refused.append(Refused(run_id=path.name, reason=reason.replace(str(path), path.name)))
    return Verified(records, tuple(refused))


def record_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and RUN_ID.fullmatch(path.name))
