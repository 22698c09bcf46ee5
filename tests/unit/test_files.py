"""One writer and one lock: a file is whole or as it was before, and a lock ends with its holder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness.data.prepare.manifest import folder_lock
from harness.files import (
    LockHeldError,
    atomic_file,
    is_locked,
    locked,
    remove_temporary_files,
    take_lock,
    write_atomically,
)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"before")
    with pytest.raises(KeyboardInterrupt), atomic_file(file) as handle:  # noqa: PT012
        handle.write(b"half")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"before")]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomically(file, b"before")
    with atomic_file(file) as handle:
        handle.write(b"after")
        handle.flush()
        assert file.read_bytes() == b"before"
    assert file.read_bytes() == b"after"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".train.beton.4711.partial", ".manifest.json.4711.tmp", "train.beton"):
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.beton"]


def test_a_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    handle = take_lock(tmp_path / "lock", wait=False)
    with pytest.raises(LockHeldError) as held:
        take_lock(tmp_path / "lock", wait=False)
    assert held.value.holder == str(os.getpid())
    assert is_locked(tmp_path / "lock")
    os.close(handle)
    assert not is_locked(tmp_path / "lock")


@pytest.mark.parametrize("lock", [locked, folder_lock])
def test_a_waiting_lock_takes_its_turn(
    tmp_path: Path, lock: Callable[[Path], AbstractContextManager[None]]
) -> None:
    order: list[str] = []
    first_in, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with lock(tmp_path / "x"):
            first_in.set()
            go_on.wait(5)
            order.append("first")

    def second() -> None:
        with lock(tmp_path / "x"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    first_in.wait(5)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert order == ["first", "second"]
