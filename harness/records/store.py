"""The store of run records: results/.open/ while a run goes on, results/<run_id>/ once it is sealed by one rename."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import AlreadyRunning, RecordError
from harness.files import LockHeldError, is_locked, take_lock
from harness.machine.environment import Environment
from harness.records.files import writing
from harness.records.record import RUN_ID, RunRecord, read_environment, read_spec, read_summary
from harness.records.verify import verify
from harness.records.writer import Writer, seal_folder
from harness.signals import Terminated, terminable
from harness.spec import RunSpec

__all__ = ["RunRecord", "Store", "Terminated", "Writer", "run_id_of", "verify"]


def utc_now() -> datetime:
    return datetime.now(UTC)


def run_id_of(spec: RunSpec, when: datetime) -> str:
    """A name that sorts by time and says what ran; the last 8 digits begin the spec's digest."""
    parts = (spec.variant, spec.geometry, spec.data.name, f"s{spec.seed}")
    plain = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", part) for part in parts)
    return f"{when:%Y%m%dT%H%M%SZ}-{plain}-{spec.digest[:8]}"


class Store:
    """The records under one results folder. Nothing is touched before `open` or `make`.

    A run holds a lock of its digest for as long as it lives. Locks are taken and tried only under a guard that is held
    for moments, so that trying whether a run lives can't make another one fail.
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

        SIGTERM raises Terminated (a KeyboardInterrupt) within the block. Stale folders of killed runs are swept first;
        `writer.swept` says what became of them. Raises AlreadyRunning, and RecordError where nothing can be written.
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
        """Raises RecordError where nothing can be written: better known before data is prepared than after."""
        with writing(self._open):
            self._open.mkdir(parents=True, exist_ok=True)
        with self._guard():
            return

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Wait for the lock under which runs begin; it is held for moments only."""
        path = self._open / "guard.lock"
        with writing(path):
            handle = take_lock(path, wait=True)
        try:
            yield
        finally:
            os.close(handle)

    def _begin(
        self, spec: RunSpec, env: Environment, clock: Callable[[], float], now: Callable[[], datetime]
    ) -> tuple[Writer, int]:
        self.make()
        with self._guard():
            lock = _take(self._open / f"{spec.digest}.lock")
            try:
                swept = self._sweep(spec.digest, now)
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

    def _sweep(self, own_digest: str, now: Callable[[], datetime]) -> tuple[str, ...]:
        """Under the guard: seals or removes what killed runs left. Our own run has no folder yet."""
        living = {own_digest[:8]}
        for lock in self._open.glob("*.lock"):
            if lock.name in ("guard.lock", f"{own_digest}.lock"):
                continue
            with writing(lock):
                if is_locked(lock):
                    living.add(lock.name[:8])
                else:
                    lock.unlink()
        done = []
        for folder in sorted(path for path in self._open.iterdir() if path.is_dir()):
            match = RUN_ID.fullmatch(folder.name)
            digest = match["digest"] if match else ""
            if digest not in living or digest == own_digest[:8]:
                done.append(_put_away(folder, now))
        return tuple(done)

    def living(self) -> dict[str, Path]:
        """The runs that are going on in some process: digest -> folder."""
        with self._guard():
            locks = [path for path in self._open.glob("*.lock") if path.name != "guard.lock"]
            held = [path.stem for path in locks if is_locked(path)]
        found: dict[str, Path] = {}
        for folder in record_folders(self._open):
            match = RUN_ID.fullmatch(folder.name)
            assert match is not None  # record_folders gives no other
            found |= {digest: folder for digest in held if digest[:8] == match["digest"]}
        return found

    def records(self) -> list[RunRecord]:
        """The sealed records directly under the folder, by run_id; those under reference/ came with the clone.

        Raises RecordError at a record that can't be read: a report must not leave one out in silence.
        """
        return [RunRecord.load(path) for path in record_folders(self.root)]

    def reference(self, study: str | None = None) -> list[RunRecord]:
        """The records under reference/<study>/, of one study or of all."""
        return [RunRecord.load(path) for path in self.reference_folders(study)]

    def reference_folders(self, study: str | None = None) -> list[Path]:
        home = self.root / "reference"
        studies = [home / study] if study else sorted(path for path in home.glob("*") if path.is_dir())
        return [path for folder in studies for path in record_folders(folder)]

    def folders(self) -> list[Path]:
        """Every sealed record's folder, own ones first."""
        return [*record_folders(self.root), *self.reference_folders()]

    def finished(self, machine_id: str) -> set[str]:
        """The digests of the runs that ended ok on that machine; a record that can't be read doesn't count.

        They are computed from the specs, since a folder's name has the digest of the schema version that wrote it.
        """
        found = set()
        for path in record_folders(self.root):
            try:
                record = RunRecord.load(path)
            except RecordError:
                continue
            if record.env.machine_id == machine_id and record.summary.status == "ok":
                found.add(record.spec.digest)
        return found


def _take(path: Path) -> int:
    """The handle of a run's lock. Raises AlreadyRunning where a living process has it."""
    try:
        with writing(path):
            return take_lock(path, wait=False)
    except LockHeldError as held:
        holder = held.holder or "another"
        raise AlreadyRunning(
            f"the same run is going on in process {holder}; wait for it to end, or stop it with: kill {holder}"
        ) from None


def record_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and RUN_ID.fullmatch(path.name))


def _put_away(folder: Path, now: Callable[[], datetime]) -> str:
    """Seals a killed run's folder if something happened in it, else removes it. Returns what was done."""
    try:
        env = read_environment(folder)
        spec = read_spec(folder, env.schema_version)
    except RecordError:
        return _remove(folder)
    try:
        status = read_summary(folder).status
    except RecordError:
        return _seal_killed(folder, spec, env.schema_version, now)
    seal_folder(folder, None)
    return f"{folder.name} was killed while it was being sealed; it is sealed now as {status}"


def _seal_killed(folder: Path, spec: RunSpec, version: int, now: Callable[[], datetime]) -> str:
    writer = Writer(folder, spec, clock=time.monotonic, now=now)
    if not writer.recover(version):
        return _remove(folder)
    writer.fail("interrupted", "the process was killed before it could end its record")
    return f"{folder.name} was killed; what it had written is sealed as interrupted"


def _remove(folder: Path) -> str:
    with writing(folder):
        shutil.rmtree(folder)
    return f"{folder.name} was killed before its first event; its folder is removed"
