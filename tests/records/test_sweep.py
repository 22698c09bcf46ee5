"""What killed runs left in .open/: sealed, moved aside or left alone; nothing is lost, and no run is blocked."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import ENV, RIGHT, SPEC, write_run
from faulty import contents

from harness.errors import RecordError
from harness.records.store import TRIAL, Store
from harness.records.verify import verify

OTHER = replace(SPEC, seed=7)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of a run that was killed between its whole summary and the rename."""
    sealed = write_run(tmp_path)
    folder = tmp_path / ".open" / sealed.name
    sealed.rename(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def swept(root: Path) -> tuple[str, ...]:
    """What the next run, another one, says of what it found."""
    with Store(root).open(OTHER, ENV) as writer:
        return writer.swept


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


SPOILED: dict[str, Callable[[Path], object]] = {
    "an unknown field in spec.json": lambda folder: edit(folder / "spec.json", added_later=1),
    "an unknown field in summary.json": lambda folder: edit(folder / "summary.json", added_later=1),
    "an empty env.json": lambda folder: (folder / "env.json").write_bytes(b""),
    "no spec.json": lambda folder: (folder / "spec.json").unlink(),
    "the summary of another run": lambda folder: edit(folder / "summary.json", run_id="another"),
    "a subfolder": lambda folder: (folder / "sub").mkdir(),
    "a link": lambda folder: (folder / "link").symlink_to("/etc/hostname"),
    "a network without columns": lambda folder: (folder / "spec.json").write_text(
        (folder / "spec.json").read_text().replace('"groups":1', '"groups":0')
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_finished_run_that_can_not_be_read_is_moved_aside_whole(
    tmp_path: Path, left: Path, how: str
) -> None:
    SPOILED[how](left)
    before = contents(left)
    (said,) = swept(tmp_path)
    aside = tmp_path / ".open" / "unreadable" / left.name
    assert said.startswith(f"{left.name} was killed, and can't be read: ")
    assert said.endswith(f"; it is moved to {aside}")
    assert contents(aside) == before
    assert swept(tmp_path) == ()


def test_events_of_a_newer_kind_are_moved_aside_and_names_never_collide(
    tmp_path: Path, left: Path
) -> None:
    (left / "summary.json").unlink()
    (left / "events.jsonl").write_text('{"t_s":0.1,"event":{"kind":"invented_later"}}\n')
    (tmp_path / ".open" / "unreadable" / left.name).mkdir(parents=True)
    (said,) = swept(tmp_path)
    assert said.endswith(f"unreadable/{left.name}-2")


def test_a_run_of_a_newer_schema_version_is_left_as_it_is(tmp_path: Path, left: Path) -> None:
    edit(left / "env.json", schema_version=99, invented="later")
    before = contents(left)
    (said,) = swept(tmp_path)
    assert said.startswith(f"{left.name} was killed and is left as it is: its schema_version is 99")
    assert contents(left) == before


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / ".open"
    write_run(tmp_path)
    (home / "notes").mkdir()
    (home / "notes" / "mine.txt").write_text("mine")
    (home / "20260131T120000Z-tiny-mini-synthetic-s0-00000000").symlink_to(home / "notes")
    assert swept(tmp_path) == ()
    assert (home / "notes" / "mine.txt").read_text() == "mine"


def test_a_folder_without_events_is_removed_only_if_it_holds_nothing_else(
    tmp_path: Path, left: Path
) -> None:
    for name in ("summary.json", "events.jsonl"):
        (left / name).write_bytes(b"")
    swept(tmp_path)
    assert len(Store(tmp_path).records()) == 2  # its bits are there, so it is sealed

    with Store(tmp_path / "two").open(SPEC, ENV) as writer:
        pass
    folder = tmp_path / "two" / ".open" / writer.run_id
    (tmp_path / "two" / writer.run_id).rename(folder)
    for path in folder.iterdir():
        if path.name not in ("spec.json", "env.json"):
            path.unlink()
    assert swept(tmp_path / "two") == (
        f"{writer.run_id} was killed before its first event; its folder is removed",
    )
    assert not folder.exists()


STUCK: dict[str, Callable[[Path], object]] = {
    "the target exists": lambda folder: (folder.parent.parent / folder.name).mkdir(),
    "a lock that is a folder": lambda folder: (folder.parent / f"{'0' * 64}.lock").mkdir(),
}


@pytest.mark.parametrize("how", STUCK)
def test_one_stuck_folder_stops_no_other_run(tmp_path: Path, left: Path, how: str) -> None:
    STUCK[how](left)
    with Store(tmp_path).open(OTHER, ENV) as writer:
        assert writer.swept
        path = writer.fail("failed", "for the test")
    assert verify(path) == []


def test_a_folder_that_the_system_refuses_is_tried_again_by_the_next_run(
    tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(source).name == left.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", rename)
        (said,) = swept(tmp_path)
    assert "can't be sealed yet: can't write" in said
    assert said.endswith("the next run tries again")
    assert left.exists()
    assert swept(tmp_path) == (
        f"{left.name} was killed while it was being sealed; it is sealed now as ok",
    )


def test_a_file_that_may_not_be_read_leaves_the_folder_in_its_place(
    tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: the tests may run as root, whom no mode stops."""
    real = os.open

    def as_ordinary_user(path: object, *words: object, **more: object) -> int:
        if Path(str(path)) == left / "spec.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr(os, "open", as_ordinary_user)
        (said,) = swept(tmp_path)
    assert "can't be sealed yet" in said
    assert left.exists()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EROFS])
def test_a_results_folder_to_which_nothing_can_be_renamed_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def rename(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", rename)
    with pytest.raises(
        RecordError, match=r"can't write .*; free some disk space, or use a results folder"
    ):
        Store(tmp_path).make()


def test_the_trial_leaves_nothing_and_goes_through_what_a_killed_one_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make()
    assert [path.name for path in tmp_path.iterdir()] == [".open"]
    (tmp_path / TRIAL).mkdir()
    (tmp_path / ".open" / TRIAL).mkdir()
    store.make()
    assert not (tmp_path / TRIAL).exists()


def test_bits_alone_make_no_result(tmp_path: Path, left: Path) -> None:
    """The summary is gone, and the events have no final evaluation."""
    (left / "summary.json").unlink()
    assert swept(tmp_path) == (f"{left.name} was killed; what it had written is sealed as interrupted",)
    record = Store(tmp_path).records()[0]
    assert record.summary.results == {}
    assert len(RIGHT) == record.spec.data.val_images
    assert verify(record.path) == []
