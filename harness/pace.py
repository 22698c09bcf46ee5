"""How far a run is and how long the rest of its training takes, from its events.

`status` and the progress lines use it; records use its rule of which windows are steady.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

from harness.events import Evaluated, Event, RunResumed, StepsDone, TrainingStarted

RECENT = 50  # windows or evaluations: the remaining time follows the machine's present load


def is_steady(before: Event | None, window: StepsDone) -> bool:
    """Whether a window's speed counts: not the first after a start, and the process was not stopped in
    it.

    before: the window or start before this one; None for the first of the run.
    """
    return isinstance(before, StepsDone) and window.paused_s == 0


class _Recent:
    """The last numbers since a start; until there is one, those of before it."""

    def __init__(self) -> None:
        self._before: deque[float] = deque(maxlen=RECENT)
        self._since: deque[float] = deque(maxlen=RECENT)

    def add(self, number: float) -> None:
        self._since.append(number)

    def restart(self) -> None:
        self._before, self._since = self._since or self._before, deque(maxlen=RECENT)

    def median(self) -> float | None:
        numbers = self._since or self._before
        return median(numbers) if numbers else None


class Pace:
    """Call it with each event of a run, in order.

    step: the last one done. steps: of the whole training; None until the training has begun.
    spent_s: seconds in windows and evaluations so far, without those in which the process was stopped.
    """

    def __init__(self) -> None:
        self.step = 0
        self.steps: int | None = None
        self.spent_s = 0.0
        self._first_step: int | None = None  # 0 if the events are known from the first step on
        self._last: Event | None = None  # the last window, or the start after it
        self._step_s = _Recent()
        self._evaluation_s: dict[str, _Recent] = {}
        self._evaluated_at: dict[str, int] = {}
        self._every: int | None = None  # steps from one evaluation to the next

    def __call__(self, event: Event) -> None:
        if isinstance(event, TrainingStarted):
            self.steps, self._first_step = event.steps, 0
        elif isinstance(event, RunResumed):
            self._resume(event)
        elif isinstance(event, StepsDone):
            self.step = event.last_step
            self.spent_s += event.elapsed_s - event.paused_s
            if is_steady(self._last, event):
                self._step_s.add(event.elapsed_s / len(event.losses))
            self._last = event
        elif isinstance(event, Evaluated) and not event.final:
            self._evaluate(event)

    def _resume(self, event: RunResumed) -> None:
        if self.step == 0:  # the windows before are not known here
            self._first_step = None
        self.step, self._last = event.step, event
        for recent in (self._step_s, *self._evaluation_s.values()):
            recent.restart()

    def _evaluate(self, event: Evaluated) -> None:
        self.spent_s += event.elapsed_s
        self._evaluation_s.setdefault(event.split, _Recent()).add(event.elapsed_s)
        before = self._evaluated_at.get(event.split, self._first_step)
        if before is not None:
            self._every = event.step - before
        self._evaluated_at[event.split] = event.step

    @property
    def left_s(self) -> float | None:
        """Seconds to the end of training, with its evaluations; None before the first steady window.

        The medians of the last windows and evaluations since the last start count.
        """
        step_s = self._step_s.median()
        if step_s is None or self.steps is None:
            return None
        if self._every:
            seconds = (recent.median() or 0.0 for recent in self._evaluation_s.values())
            step_s += sum(seconds) / self._every
        return step_s * (self.steps - self.step)


def pace_of(events: Iterable[Event]) -> Pace:
    """The pace after these events."""
    pace = Pace()
    for event in events:
        pace(event)
    return pace
