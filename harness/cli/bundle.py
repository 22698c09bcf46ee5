"""The command `bundle`: the wheels and FFCV's libraries for a machine without network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.tables import new_table, print_table


def bundle(
    folder: Annotated[Path, typer.Argument(help="A new folder, to be copied to the target.")],
    installed: Annotated[
        Path | None,
        typer.Option(
            help="What the target has, which is left out: the output of `python -m pip list --format "
            "freeze` or `pip freeze` there. Without it: torch, torchvision, numpy and pillow."
        ),
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="The target's Python, such as 3.12; this one's if left out.")
    ] = None,
    ffcv: Annotated[
        bool, typer.Option(help="FFCV and its requirements; without it runs use the folder loader.")
    ] = True,
) -> None:
    """Make a folder from which a machine without network, but with torch, can install the harness.

    Prints what is in it. The target must have this machine's kind of processor and Linux.
    """
    from harness.setup.bundle import make, size_sentence
    from harness.setup.cache import cache_folder
    from harness.setup.steps import Steps
    from harness.setup.target import read_target

    target = read_target(python, installed)
    if target.ignored:
        typer.echo(
            f"ignored, since no version is given: {', '.join(target.ignored)}; `python -m pip list "
            "--format freeze` gives all versions"
        )
    steps = Steps(
        log=cache_folder() / "bundle.log", environ={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    steps.log.unlink(missing_ok=True)
    parts = make(folder, target, steps, typer.echo, with_ffcv=ffcv)
    table = new_table("package", "version", "MB", right=("MB",))
    for part in parts:
        table.add_row(part.name, part.version, f"{part.bytes / 1e6:.2f}")
    print_table(table)
    typer.echo(size_sentence(parts))
    typer.echo(f"Copy {folder} to the target, and run there: sh {folder.name}/install.sh")
