"""`harness data list` and `harness data prepare NAME`: which data sets there are, and writing one into the cache."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli.progress import counting
from harness.errors import UsageError

app = typer.Typer(help="List data sets, and prepare one for training.", no_args_is_help=True)


class Format(StrEnum):
    """How pixels are stored."""

    raw = "raw"
    jpeg = "jpeg"


class LoaderName(StrEnum):
    """Which loader to prepare for."""

    auto = "auto"
    ffcv = "ffcv"
    folder = "folder"


@app.command("list")
def list_() -> None:
    """The data sets known by name."""
    from harness.data.sources import SOURCES

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "classes", "boxes", "needs", "what it is"):
        table.add_column(heading, no_wrap=heading == "name")
    for source in SOURCES.values():
        classes = "its own" if source.classes is None else str(source.classes)
        needs = "--path" if source.needs_path else ""
        table.add_row(source.name, classes, "yes" if source.boxes else "", needs, source.meaning)
    Console(highlight=False).print(table)


@app.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="A row of `python -m harness data list`.")],
    path: Annotated[Path | None, typer.Option(help="Where the source lies, if it doesn't come by itself.")] = None,
    size: Annotated[
        int, typer.Option(min=1, max=4096, help="Side of the stored square: 36 for mini, 256 for full.")
    ] = 36,
    format_: Annotated[
        Format, typer.Option("--format", help="raw is fastest; jpeg is 5-10 times smaller.")
    ] = Format.raw,
    jpeg_quality: Annotated[int | None, typer.Option(min=1, max=95, help="With --format jpeg; 90 if left out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Writer processes; one for each core if left out.")] = None,
    loader: Annotated[LoaderName, typer.Option(help="auto: FFCV where it works.")] = LoaderName.auto,
    skip_bad_images: Annotated[bool, typer.Option("--skip-bad-images", help="Leave out what is no image.")] = False,
    limit_train: Annotated[int | None, typer.Option(min=1, help="Take only so many, balanced by class.")] = None,
    limit_val: Annotated[int | None, typer.Option(min=1, help="The same for validation; give both.")] = None,
) -> None:
    """Check a data set and write it into the cache (HARNESS_CACHE), once."""
    if (limit_train is None) != (limit_val is None):
        raise UsageError("a limit was given for one split only; give both --limit-train and --limit-val")
    from harness.data.prepare.job import prepare as prepare_

    with counting() as progress:
        prepared = prepare_(
            name,
            path=path,
            store_size=size,
            store_format=format_.value,
            jpeg_quality=jpeg_quality,
            workers=workers,
            loader=loader.value,
            skip_bad_images=skip_bad_images,
            limit=None if limit_train is None or limit_val is None else (limit_train, limit_val),
            progress=progress,
        )
    spec, skipped = prepared.spec, len(prepared.manifest.get("skipped", ()))
    left_out = f", {skipped} bad left out" if skipped else ""
    where = "made in memory" if spec.name == "synthetic" else str(prepared.folder)
    typer.echo(
        f"{spec.name}: {spec.train_images:,} training and {spec.val_images:,} validation images, "
        f"{spec.classes} classes, {spec.store_size}x{spec.store_size} {spec.store_format}{left_out}: {where}"
    )
