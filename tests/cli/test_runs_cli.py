"""`run` and `reproduce` as a user sees them: last lines, live lines on a pipe, and what lands where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli.progress import Board, RunLine
from harness.cli.runs import chance_warning
from harness.data.loaders.factory import LoaderName
from harness.errors import RunFailed, UsageError
from harness.events import Evaluated, StepsDone, TrainingStarted
from harness.records.store import Store
from harness.studies.rows import study_named

LINE = re.compile(
    r"no_lrn: top-1 error [\d.]+%, top-5 error [\d.]+% \(centre, n = 8, (ffcv|folder) loader\); record: (\S+)\n"
)


@pytest.fixture
def words(class_folders: Path) -> tuple[str, ...]:
    return ("--variant", "no_lrn", "--data", "folder", "--path", str(class_folders), "--device", "cpu")


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_the_last_line_of_a_run_has_errors_and_record(
    call: Any, words: tuple[str, ...], loader: LoaderName
) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    said = call("run", *words, "--loader", loader)
    match = LINE.fullmatch(said.out)
    assert said.code == 0
    assert match is not None, said.out
    assert match[1] == loader
    (record,) = Store(Path("results")).records()
    assert record.path == Path(match[2])
    assert (record.summary.loader, record.env.placement.loader) == (loader, loader)


def test_without_ffcv_the_run_goes_on_and_says_why_and_how_to_fix_it(
    call: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "ffcv is not installed; fix it with: python -m harness.setup.ffcv"
    monkeypatch.setattr("harness.setup.ffcv.status", lambda: (False, why))
    said = call("run", *words)
    (record,) = Store(Path("results")).records()
    assert said.code == 0
    assert f"the folder loader is used instead of FFCV: {why}\n" in said.err
    assert (record.summary.loader, record.summary.loader_reason) == ("folder", why)


def test_on_a_pipe_the_live_lines_are_plain_text(call: Any, words: tuple[str, ...]) -> None:
    said = call("run", *words, "--loader", "folder")
    assert "\x1b" not in said.out + said.err
    assert re.search(
        r"^no_lrn: step 1 of 1, validation top-1 error [\d.]+% \(centre\)$", said.err, re.MULTILINE
    )


def test_weights_that_can_not_be_written_cost_no_record(
    call: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.finished.save_weights", full)
    said = call("run", *words, "--loader", "folder", "--save-weights", "trained.safetensors")
    (record,) = Store(Path("results")).records()
    assert said.code == 5
    assert said.error.startswith(
        f"the run is sealed in {record.path}, but its weights can't be written to trained."
    )
    assert said.err.count("weights can't be written to trained.") == 2  # at once, and at the end
    assert record.summary.status == "ok"


def test_an_option_that_is_left_out_is_the_studys() -> None:
    plain = study_named("reproduce", variants=None, recipe=None, data=None, seeds=None)
    other = study_named("reproduce", variants=("no_lrn",), recipe="paper", data="synthetic", seeds=7)
    assert (plain.recipe, plain.data, plain.seeds, len(plain.variants)) == (
        "mini",
        "fashion_mnist",
        5,
        5,
    )
    assert (other.recipe, other.data, other.seeds, other.variants) == (
        "paper",
        "synthetic",
        7,
        ("no_lrn",),
    )
    with pytest.raises(UsageError):
        study_named("nothing")


STEPS = StepsDone(
    last_step=20,
    epoch=0.5,
    losses=(2.0, 1.0),
    top1_error=0.25,
    lr=0.01,
    images=3000,
    elapsed_s=2.0,
    wait_s=0.1,
)
STARTED = TrainingStarted(steps=40, images_per_epoch=2560, parameters=1)
FOUND = Evaluated(
    step=40,
    epoch=1.0,
    protocol="centre",
    final=True,
    top1_error=0.5,
    top5_error=0.1,
    loss=1.0,
    images=8,
    elapsed_s=1.0,
)


def test_the_progress_line_shows_loss_error_and_images_per_second() -> None:
    line = RunLine()
    line(STARTED)
    line(STEPS)
    assert (line.pace.step, line.pace.steps) == (20, 40)
    assert line.status == "loss 1.500  top-1 error 25.0%  1,500 images/s"
    line(FOUND)
    assert line.status == "validation top-1 error 50.0% (centre)"


class Bars:
    """Stands in for rich's bars."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []

    def add_task(self, name: str, **shown: Any) -> int:
        return 0

    def update(self, task: int, **shown: Any) -> None:
        self.shown.append(shown)

    def remove_task(self, task: int) -> None:
        self.shown.append({"removed": task})


def test_without_a_terminal_a_line_is_printed_every_15_s_and_at_each_validation(capfd: Any) -> None:
    now = [0.0]
    board = Board(Bars(), clock=lambda: now[0])  # type: ignore[arg-type]
    for second, event in ((1.0, STARTED), (5.0, STEPS), (16.0, STEPS), (17.0, STEPS), (18.0, FOUND)):
        now[0] = second
        board.event("a", event)
    board.end("a", "sealed")
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(", ")[1].split("  ")[0] for line in lines[:2]] == [
        "loss 1.500", "validation top-1 error 50.0% (centre)",
    ]  # fmt: skip
    assert lines[2:] == ["a: sealed"]


@pytest.mark.parametrize(("top1_error", "warned"), [(0.9, True), (0.895, True), (0.8, False)])
def test_a_run_that_ends_at_chance_says_so(top1_error: float, warned: bool) -> None:
    """Of 10,000 images in 10 classes a guessing network gets 90 % wrong; 89.5 % is within chance, 80 % is not."""
    said = chance_warning("no_lrn", top1_error, images=10_000, classes=10)
    assert bool(said) == warned
    if said:
        assert said.startswith(
            "no_lrn is no better than guessing, which has 90.00 % top-1 error on 10 classes"
        )


def test_weights_are_there_before_the_final_evaluation(
    call: Any, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation that fails after 90 epochs must not take the weights with it."""

    def fail(*_: Any, **__: Any) -> None:
        raise RunFailed("the loader died")

    monkeypatch.setattr("harness.run.evaluate", fail)
    said = call("run", *words, "--loader", "folder", "--save-weights", "trained.safetensors")
    assert said.code == RunFailed.exit_code
    assert Path("trained.safetensors").stat().st_size > 0
