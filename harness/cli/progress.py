"""Progress display: moving bars in a terminal, plain lines at intervals in a log or pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from harness.data import progress as data
from harness.events import Evaluated, Event, RunResumed, StepsDone
from harness.pace import Pace

PLAIN_EVERY_S = 15.0


console = Console(stderr=True, highlight=False)  # looks up sys.stderr each time it prints


@contextmanager
def counting(clock: Callable[[], float] = time.monotonic) -> Iterator[data.Progress]:
    """Progress bars for downloads, conversion and similar work, with items/s and the time left.

    Elsewhere than in a terminal: one plain line every 15 s. clock: seconds.
    """
    with _bars(TimeRemainingColumn()) as bars:
        tasks: dict[str, TaskID] = {}
        speeds: dict[str, Speed] = {}
        said_s = clock()

        def progress(what: str, done: int, total: int | None) -> None:
            nonlocal said_s
            if what not in tasks:  # work that goes on does not begin at 0
                tasks[what] = bars.add_task(what, total=total, completed=done, status="")
                speeds[what] = Speed(done, clock())
            status = speeds[what].words(what, done, total, clock())
            bars.update(tasks[what], completed=done, total=total, status=status.partition(", ")[0])
            if not console.is_terminal and clock() - said_s > PLAIN_EVERY_S:
                said_s = clock()
                of = "" if total is None else f" of {total:,}"
                console.print(f"{what}: {done:,}{of}, {status}", soft_wrap=True)

        yield progress


@dataclass(frozen=True)
class Speed:
    """How fast something has gone since its first report. first: items that were done then."""

    first: int
    first_s: float

    def words(self, what: str, done: int, total: int | None, now_s: float) -> str:
        """Items per second and, where the total is known, the time left: "143 images/s, 2:27:10
        left".
        """
        if done <= self.first or now_s <= self.first_s:
            return "starting"
        per_s = (done - self.first) / (now_s - self.first_s)
        unit = " images" if what.endswith("images") else ""
        left_s = None if total is None else (total - done) / per_s
        return f"{per_s:,.0f}{unit}/s{words_left(left_s)}"


def _bars(*more: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        *more,
        console=console,
    )


class RunLine:
    """The status of one run from its events: loss, top-1 error, images/s; `pace` is for the bar."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.status = "starting"

    def __call__(self, event: Event) -> None:
        self.pace(event)
        if isinstance(event, RunResumed):
            self.status = f"resumed after step {event.step}"
        elif isinstance(event, StepsDone):
            self.status = (
                f"loss {sum(event.losses) / len(event.losses):.3f}  top-1 error "
                f"{event.top1_error:.1%}  {event.images / event.elapsed_s:,.0f} images/s"
            )
        elif isinstance(event, Evaluated):
            name = "validation" if event.split == "val" else "training set"
            self.status = f"{name} top-1 error {event.top1_error:.1%} ({event.protocol})"

    @property
    def left(self) -> str:
        return words_left(self.pace.left_s)


def words_left(seconds: float | None) -> str:
    """Such as ", 2:27:10 left"; nothing if it is unknown or 0."""
    return f", {timedelta(seconds=round(seconds))} left" if seconds else ""


class Board:
    """One bar per run in a terminal; elsewhere one plain line every 15 s and at each validation."""

    def __init__(self, bars: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self.bars = bars
        self.clock = clock
        self.lines: dict[str, RunLine] = {}
        self.tasks: dict[str, TaskID] = {}
        self._said_s = clock()

    def event(self, run: str, event: Event) -> None:
        line = self.lines.setdefault(run, RunLine())
        if run not in self.tasks:
            self.tasks[run] = self.bars.add_task(run, total=None, status=line.status)
        line(event)
        pace, status = line.pace, line.status + line.left
        self.bars.update(self.tasks[run], completed=pace.step, total=pace.steps, status=status)
        at_once = isinstance(event, Evaluated | RunResumed)
        due = at_once or self.clock() - self._said_s > PLAIN_EVERY_S
        if not console.is_terminal and due:
            self._said_s = self.clock()
            console.print(f"{run}: step {pace.step} of {pace.steps}, {status}", soft_wrap=True)

    def end(self, run: str, sentence: str) -> None:
        """Remove the bar and print one line instead."""
        if run in self.tasks:
            self.bars.remove_task(self.tasks.pop(run))
        console.print(f"{run}: {sentence}", soft_wrap=True)


@contextmanager
def board() -> Iterator[Board]:
    """A Board that is shown while the block runs."""
    with _bars() as bars:
        yield Board(bars)
