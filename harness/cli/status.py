"""The command `status`: lists running and stopped runs with their progress and remaining time."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

WATCH_S = 2.0


def status(
    results: Annotated[Path, typer.Option(help="Where records are sealed.")] = Path("results"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Update the list every 2 s, until Ctrl-C.")
    ] = False,
) -> None:
    """List running and stopped runs. A stopped run resumes if you repeat the command that started it.

    A sealed run is listed while its checkpoint is left; repeating its command removes it, and trains
    nothing.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not watch:
        console.print(_table(results))
        return
    with Live(_table(results), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            live.update(_table(results), refresh=True)


def _table(results: Path) -> Table | str:
    from rich.table import Table

    from harness.status import unfinished
    from harness.studies.cluster import queued

    runs, waiting = unfinished(results), queued(results)
    if not runs and not waiting:
        return f"no run is going on under {results}, and no stopped run has a checkpoint"
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "step", "of", "checkpoint", "time left", "last event"):
        right = heading in ("step", "of", "checkpoint", "time left")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for run in runs:
        numbers = [
            "" if number is None else f"{number:,}" for number in (run.step, run.steps, run.checkpoint)
        ]
        left = "" if run.left_s is None else str(timedelta(seconds=round(run.left_s)))
        table.add_row(run.name, run.state, *numbers, left, run.last_event)
    for job in waiting:
        table.add_row(job.name, "queued", "", "", "", "", f"job {job.job}")
    return table
