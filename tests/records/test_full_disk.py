"""A disk that is full at the end, or a kill after the final evaluation, loses no result."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_run import ENV, IMAGES, RIGHT, SPEC, STEPS, summary_of
from faulty import refuse

from harness.errors import RecordError
from harness.events import Evaluated, Event, TrainingDone
from harness.probes.base import Sample
from harness.probes.summary import summarise
from harness.records import files, lines
from harness.records.record import Stamped
from harness.records.recovery import KILLED
from harness.records.store import Store, Writer
from harness.records.summary_fields import summary_fields
from harness.records.verify import load_verified, verify

ONE = replace(
    SPEC, recipe=replace(SPEC.recipe, evaluation=replace(SPEC.recipe.evaluation, protocols=("centre",)))
)
LATER = replace(STEPS, last_step=4, images=9, elapsed_s=0.3)
DONE = TrainingDone(steps=4, images=17, elapsed_s=0.5, wait_s=0.2)
FINAL = Evaluated(
    step=4, epoch=1.0, protocol="centre", final=True, top1_error=4 / 9, top5_error=0.0, loss=0.6, images=IMAGES,
    elapsed_s=0.1,
)  # fmt: skip


def train(writer: Writer) -> None:
    """A run up to its final evaluation."""
    for event in (STEPS, LATER, DONE):
        writer.event(event)
    writer.sample(Sample(t_s=0.0, probe="host", device="host", values={"rss_mib": 100.0}, missing={}))
    writer.write_correct("centre", RIGHT, np.ones(IMAGES, dtype=np.bool_))
    writer.array("conv1", np.zeros((2, 3, 3, 3), dtype=np.float16))


def test_a_disk_that_is_full_while_sealing_leaves_a_result_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> None:
        with Store(tmp_path).open(ONE, ENV) as writer:
            train(writer)
            writer.event(FINAL)
            monkeypatch.setattr(files.os, "fsync", refuse(errno.ENOSPC))
            monkeypatch.setattr(lines.os, "pwrite", refuse(errno.ENOSPC))
            writer.seal(summary_of(writer))

    with pytest.raises(RecordError, match="No space left"):
        run()
    monkeypatch.undo()
    with Store(tmp_path).open(replace(ONE, seed=7), ENV) as other:
        assert other.swept[0].endswith("was killed after its final evaluation; it is sealed now as ok")
    record = load_verified(Store(tmp_path).records()[0].path)
    summary = record.summary
    assert (summary.status, summary.status_reason) == ("ok", None)
    assert summary.results["centre"].top1_error == 4 / 9
    assert record.correct("centre", 1).tolist() == RIGHT.tolist()
    assert (summary.steps, summary.images_seen, summary.train_s, summary.wait_s) == (4, 17, 0.5, 0.2)
    assert (summary.loader, summary.loader_reason) == ("unknown", KILLED)
    assert {name for name, number in vars(summary).items() if number is None} - {
        "status_reason"
    } == set(summary.missing)
    assert verify(record.path) == []


def test_a_recovered_summary_has_the_numbers_of_the_one_that_was_lost(tmp_path: Path) -> None:
    events: tuple[Event, ...] = (STEPS, LATER, replace(LATER, last_step=6, images=7), DONE, FINAL)
    past = [Stamped(t_s=1.0, event=event) for event in events]
    lost = summary_fields(past, summarise([], []), peak_gpu_mib=None)
    killed_after(tmp_path, events)
    with Store(tmp_path).open(replace(ONE, seed=7), ENV):
        pass
    found = Store(tmp_path).records()[0].summary
    assert (found.images_per_second, found.warmup_steps) == (
        lost["images_per_second"],
        lost["warmup_steps"],
    )
    assert found.final_train_loss == lost["final_train_loss"]


def killed_after(root: Path, events: tuple[Event, ...], right: bool = True) -> None:
    """Leaves the open folder of a run that wrote these events and was killed, with the bits of FINAL or wrong ones."""
    store = Store(root)
    with store.open(ONE, ENV) as writer:
        bits = RIGHT if right else ~RIGHT
        writer.write_correct("centre", bits, np.ones(IMAGES, dtype=np.bool_))
        writer.array("conv1", np.zeros((2, 3, 3, 3), dtype=np.float16))
        for event in events:
            writer.event(event)
        path = writer.fail("failed", "for the test")
    folder = root / ".open" / path.name
    path.rename(folder)
    (folder / "summary.json").unlink()
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    "events",
    [(STEPS, DONE), (STEPS, FINAL), (STEPS, DONE, replace(FINAL, final=False))],
    ids=["no final evaluation", "training not done", "not final"],
)
def test_what_is_no_whole_result_is_sealed_as_interrupted(
    tmp_path: Path, events: tuple[Event, ...]
) -> None:
    killed_after(tmp_path, events)
    with Store(tmp_path).open(replace(ONE, seed=7), ENV):
        pass
    assert Store(tmp_path).records()[0].summary.status == "interrupted"


def test_bits_that_disagree_with_the_events_make_no_result(tmp_path: Path) -> None:
    killed_after(tmp_path, (STEPS, DONE, FINAL), right=False)
    with Store(tmp_path).open(replace(ONE, seed=7), ENV):
        pass
    assert Store(tmp_path).records()[0].summary.status == "interrupted"


def test_a_full_disk_in_training_ends_no_run_and_loses_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_s = [0.0]
    with Store(tmp_path).open(ONE, ENV, clock=lambda: time_s[0]) as writer:
        with monkeypatch.context() as full:
            full.setattr(lines.os, "pwrite", refuse(errno.ENOSPC))
            for time_s[0] in (2.0, 4.0):
                writer.event(STEPS)
        path = writer.fail("failed", "for the test")
    assert (path / "events.jsonl").read_text().count("\n") == 2


def test_room_for_the_end_is_kept_from_the_start_and_freed_for_the_result(tmp_path: Path) -> None:
    with Store(tmp_path).open(ONE, ENV) as writer:
        kept = writer.folder / ".reserved.tmp"
        assert kept.stat().st_size >= 1 << 20
        train(writer)
        assert not kept.exists()
        sealed = writer.seal(summary_of(writer))
    assert ".reserved.tmp" not in (sealed / "SHA256SUMS").read_text()


FILLER = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_full_disk import ENV, FINAL, ONE, Store, summary_of, train
with Store(Path(sys.argv[1])).open(ONE, ENV) as writer:
    file = os.open(Path(sys.argv[1]) / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError:
        pass
    train(writer)
    writer.event(FINAL)
    writer.seal(summary_of(writer))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_run_on_a_disk_that_others_filled_is_sealed_whole(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        here = Path(__file__)
        env = {**os.environ, "PYTHONPATH": str(here.parents[2])}
        command = [sys.executable, "-c", FILLER, str(disk), str(here.parent), str(here.parents[1])]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (record,) = Store(disk).verified().records
        assert record.summary.status == "ok"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_killed_right_after_its_final_evaluation_is_sealed_as_ok(tmp_path: Path) -> None:
    here = Path(__file__)
    code = f"""
import sys, time
from pathlib import Path
sys.path[:0] = {[str(here.parent), str(here.parents[1])]!r}
from test_full_disk import ENV, FINAL, ONE, Store, train
with Store(Path({str(tmp_path)!r})).open(ONE, ENV) as writer:
    train(writer)
    writer.event(FINAL)
    print("evaluated", flush=True)
    time.sleep(60)
"""
    env = {**os.environ, "PYTHONPATH": str(here.parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "evaluated\n"
        process.send_signal(signal.SIGKILL)
    with Store(tmp_path).open(ONE, ENV) as writer:
        assert writer.swept[0].endswith("was killed after its final evaluation; it is sealed now as ok")
    assert Store(tmp_path).records()[0].summary.status == "ok"
