"""What killed runs left in results/.open/: sealed where it can be read, moved aside where not, removed
only if empty.

Nothing here raises: a folder that can't be dealt with stays where it is, and a sentence says so.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from harness.errors import RecordError
from harness.files import is_locked
from harness.machine.environment import Environment
from harness.records.record import (
    RUN_ID,
    NewerSchemaError,
    read_environment,
    read_spec,
    read_summary,
    sealed_digest,
)
from harness.records.recovery import KILLED, final_results
from harness.records.schema import Summary
from harness.records.writer import Writer, seal_folder
from harness.spec import RunSpec

UNREADABLE = "unreadable"
GUARD = "guard.lock"
BEFORE_EVENTS = ("spec.json", "env.json", "events.jsonl", "telemetry.jsonl", "summary.json")
REFUSED = (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


def sweep(home: Path, own_digest: str, now: Callable[[], datetime]) -> tuple[str, ...]:
    """Deal with each killed run's folder in `home` (results/.open); a sentence for each, and for what
    goes wrong.

    Call it under the guard, with the lock of `own_digest` held and no folder made for it yet. What is
    no run's folder is left alone.
    """
    living, said = _living(home, own_digest)
    for folder in sorted(path for path in home.iterdir() if path.is_dir() and not path.is_symlink()):
        match = RUN_ID.fullmatch(folder.name)
        if match is not None and match["digest"] not in living:
            said.append(_put_away(folder, now))
    return tuple(said)


def _living(home: Path, own_digest: str) -> tuple[Collection[str], list[str]]:
    """The first digits of the digests that living processes hold; locks of dead ones are removed."""
    living, said = set(), []
    for lock in sorted(home.glob("*.lock")):
        if lock.name in (GUARD, f"{own_digest}.lock"):
            continue
        try:
            if is_locked(lock):
                living.add(lock.name[:8])
            else:
                lock.unlink()
        except OSError as error:
            living.add(lock.name[:8])
            said.append(f"{lock} can't be tried: {error.strerror or error}; its run is left alone")
    return living - {own_digest[:8]}, said


def _put_away(folder: Path, now: Callable[[], datetime]) -> str:
    try:
        return _sealed_or_aside(folder, now)
    except Exception as error:  # whatever is wrong with one folder, other runs must be able to begin
        return (
            f"{folder.name} was killed, and can't be sealed yet: {_said(error)}; the next run tries "
            "again"
        )


def _sealed_or_aside(folder: Path, now: Callable[[], datetime]) -> str:
    try:
        read_environment(folder)
    except NewerSchemaError as error:
        return f"{folder.name} was killed and is left as it is: {error}"
    except RecordError:
        pass  # _read says it, unless there is nothing to lose
    if _is_empty(folder):
        shutil.rmtree(folder)
        return f"{folder.name} was killed before its first event; its folder is removed"
    try:
        env, spec, summary, writer = _read(folder, now)
    except Exception as error:
        if _refused(error):
            raise
        return _move_aside(folder, error)
    if summary is not None:
        seal_folder(folder, None)
        return (
            f"{folder.name} was killed while it was being sealed; it is sealed now as {summary.status}"
        )
    results = final_results(spec, writer.past, folder)
    if results is not None:
        writer.seal(writer.recovered(env, results))
        return f"{folder.name} was killed after its final evaluation; it is sealed now as ok"
    writer.fail("interrupted", KILLED)
    return f"{folder.name} was killed; what it had written is sealed as interrupted"


def _is_empty(folder: Path) -> bool:
    """Whether nothing happened: no event, no summary, and no file but those of a run that begins."""
    for path in folder.iterdir():
        temporary = path.name.startswith(".") and path.suffix == ".tmp"
        if path.is_symlink() or not path.is_file() or not (temporary or path.name in BEFORE_EVENTS):
            return False
        if path.name in ("events.jsonl", "summary.json") and path.stat().st_size > 0:
            return False
    return True


def _read(
    folder: Path, now: Callable[[], datetime]
) -> tuple[Environment, RunSpec, Summary | None, Writer]:
    """All that sealing needs. Raises where the folder is not what this harness wrote."""
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            raise RecordError(f"{path.name} is not a plain file")
    env = read_environment(folder)
    spec = read_spec(folder, env.schema_version)
    written = folder / "summary.json"
    summary = read_summary(folder, spec) if written.exists() and written.stat().st_size > 0 else None
    if summary is not None and (summary.run_id, summary.spec_digest) != (
        folder.name,
        sealed_digest(folder),
    ):
        raise RecordError("summary.json is that of another run")
    writer = Writer(folder, spec, clock=time.monotonic, now=now)
    if summary is None:
        writer.recover(env.schema_version)
    return env, spec, summary, writer


def _refused(error: BaseException | None) -> bool:
    """Whether the system, not the content, is the reason: it may be another the next time."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in REFUSED:
            return True
        error = error.__cause__
    return False


def _move_aside(folder: Path, error: Exception) -> str:
    home = folder.parent / UNREADABLE
    home.mkdir(exist_ok=True)
    target, number = home / folder.name, 1
    while os.path.lexists(target):
        number += 1
        target = home / f"{folder.name}-{number}"
    folder.rename(target)
    return f"{folder.name} was killed, and can't be read: {_said(error)}; it is moved to {target}"


def _said(error: Exception) -> str:
    text = (
        str(error) if isinstance(error, RecordError | OSError) else f"{type(error).__name__}: {error}"
    )
    return " ".join(text.split())
