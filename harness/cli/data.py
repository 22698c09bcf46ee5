"""The commands `data list`, `data prepare` and `data sort`: list data sets, prepare one, sort
validation images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli.progress import counting
from harness.data.names import JPEG_QUALITY, StoreFormat
from harness.errors import UsageError
from harness.placement import LoaderName

if TYPE_CHECKING:
    from harness.data.prepare.manifest import Manifest

app = typer.Typer(
    help="List data sets, prepare one for training, sort validation images.", no_args_is_help=True
)


Format = Annotated[
    StoreFormat,
    typer.Option(
        "--format", help="raw is fastest and exact; jpeg is 5-10 times smaller and needs FFCV."
    ),
]
JpegQuality = Annotated[
    int | None, typer.Option(min=1, max=95, help=f"With --format jpeg; {JPEG_QUALITY} if left out.")
]
LimitTrain = Annotated[
    int | None, typer.Option(min=1, help="Use only this number of training images, balanced by class.")
]
LimitVal = Annotated[int | None, typer.Option(min=1, help="The same for validation; give both.")]


def both_limits(train: int | None, val: int | None) -> tuple[int, int] | None:
    """The two limits as one value. Raises UsageError where only one is given."""
    if (train is None) != (val is None):
        raise UsageError(
            "a limit was given for one split only; give both --limit-train and --limit-val"
        )
    return None if train is None or val is None else (train, val)


@app.command("list")
def list_() -> None:
    """The data sets known by name."""
    from harness.data.sources import sources

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "classes", "boxes", "needs", "what it is"):
        table.add_column(heading, no_wrap=heading == "name")
    for source in sources().values():
        classes = "any" if source.classes is None else str(source.classes)
        needs = "--path" if source.needs_path else ""
        table.add_row(source.name, classes, "yes" if source.boxes else "", needs, source.description)
    Console(highlight=False).print(table)


@app.command("prepare")
def prepare(
    name: Annotated[str, typer.Argument(help="A row of `python -m harness data list`.")],
    path: Annotated[
        Path | None, typer.Option(help="Where the source is, if it is not downloaded automatically.")
    ] = None,
    size: Annotated[
        int, typer.Option(min=1, max=4096, help="Side of the stored image: 36 mini, 256 full size.")
    ] = 36,
    format_: Format = "raw",
    jpeg_quality: JpegQuality = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Writer processes; one for each core if left out.")
    ] = None,
    loader: Annotated[LoaderName, typer.Option(help="auto: FFCV where it works.")] = "auto",
    skip_bad_images: Annotated[
        bool,
        typer.Option(
            "--skip-bad-images", help="Leave unreadable images out, now and in later commands."
        ),
    ] = False,
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
) -> None:
    """Check a data set and write it into the cache (HARNESS_CACHE), once.

    The last line has the digest of its images.
    """
    limit = both_limits(limit_train, limit_val)
    from harness.data.prepare.job import prepare as prepare_
    from harness.data.prepare.manifest import StoreSettings

    settings = StoreSettings(
        store_size=size, store_format=format_, jpeg_quality=jpeg_quality, limit=limit
    )
    with counting() as progress:
        prepared = prepare_(
            name,
            settings,
            path=path,
            workers=workers,
            loader=loader,
            skip_bad_images=skip_bad_images,
            progress=progress,
        )
    spec = prepared.spec
    for note in notes(prepared.manifest):
        typer.echo(note)
    side, where = spec.store_size, prepared.folder or "made in memory"
    typer.echo(
        f"{counts(prepared.manifest)}, {spec.classes} classes, {side}x{side} {spec.store_format}: "
        f"{where}"
    )
    typer.echo(f"digest of the images: {spec.listing}")


@app.command("sort")
def sort(
    folder: Annotated[Path, typer.Argument(help="The folder of the images, such as val/.")],
    labels: Annotated[
        Path,
        typer.Option(
            help="LOC_val_solution.csv, Annotations/CLS-LOC/val, the ILSVRC devkit, or image,class."
        ),
    ],
) -> None:
    """Move images that are in one folder into a folder for each class."""
    from harness.data.sources.val_labels import sort_images

    images, classes = sort_images(folder, labels)
    typer.echo(f"{images:,} images are now in {classes:,} class folders of {folder}")


def counts(manifest: Manifest) -> str:
    """The data set and its numbers of images."""
    spec = manifest.spec
    return f"{spec.name}: {spec.train_images:,} training and {spec.val_images:,} validation images"


def notes(manifest: Manifest) -> list[str]:
    """Notes about a prepared data set that a user should know, one per line; usually none."""
    found, name = [], manifest.spec.name
    if manifest.source.path and manifest.source.contents:
        found.append(f"{name}: these images are {manifest.source.contents}")
    if manifest.left_out:
        found.append(
            f"{name}: {manifest.left_out} unreadable images are left out, since it was prepared with "
            "--skip-bad-images"
        )
    if ignored := sum(manifest.ignored.values()):
        found.append(f"{name}: {ignored} files are ignored, since they have no image suffix")
    return found
