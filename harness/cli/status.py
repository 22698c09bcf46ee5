"""The command `status`: lists running and stopped runs with their progress and remaining time."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from harness.status import Unfinished
    from harness.studies.cluster import Queued
    from harness.studies.progress import StudyState

WATCH_S = 2.0


def status(
    results: Annotated[Path, typer.Option(help="Where records are sealed.")] = Path("results"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Update the list every 2 s, until Ctrl-C.")
    ] = False,
) -> None:
    """List unfinished studies, and running and stopped runs. A stopped study or run resumes if you
    repeat the command that started it.

    A sealed run is listed while its checkpoint is left; repeating its command removes it, and trains
    nothing.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not watch:
        console.print(_tables(results))
        return
    with Live(_tables(results), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            live.update(_tables(results), refresh=True)


def _tables(results: Path) -> RenderableType:
    from rich.console import Group

    from harness.status import unfinished
    from harness.studies.cluster import queued
    from harness.studies.progress import study_states

    runs, waiting = unfinished(results), queued(results)
    studies = study_states(results, runs)
    if not runs and not waiting and not studies:
        return f"no run is going on under {results}, and no stopped run has a checkpoint"
    of_studies = (_studies(studies), "") if studies else ()
    return Group(*of_studies, _runs(runs, waiting))


def _table(left: Sequence[str], right: Sequence[str], last: Sequence[str] = ()) -> Table:
    """A table with these headings; the columns of `right` are numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in (*left, *right, *last):
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def _studies(states: Sequence[StudyState]) -> Table:
    table = _table(["study"], ["runs done", "failed", "running", "to do", "time left"])
    for state in states:
        numbers = (state.done, state.failed, state.running, state.todo)
        table.add_row(state.name, *map(str, numbers), _time(state.left_s))
    return table


def _runs(runs: Sequence[Unfinished], waiting: Sequence[Queued]) -> Table:
    table = _table(["run", "state"], ["step", "of", "checkpoint", "time left"], ["last event"])
    for run in runs:
        numbers = [
            "" if number is None else f"{number:,}" for number in (run.step, run.steps, run.checkpoint)
        ]
        table.add_row(run.name, run.state, *numbers, _time(run.left_s), run.last_event)
    for job in waiting:
        table.add_row(job.name, "queued", "", "", "", "", f"job {job.job}")
    return table


def _time(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
