"""The commands `run`, `reproduce` and `eval`, with their options."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.data import Format, JpegQuality, LimitTrain, LimitVal, both_limits
from harness.data.names import StoreFormat
from harness.errors import UsageError
from harness.placement import LoaderName as LoaderChoice
from variants.columns import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.store import RunRecord
    from harness.resolve import RunRequest

Variant = Annotated[str, typer.Option(help="A name from `python -m harness list`.")]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="A name from `python -m harness list --recipes`.")
]
Data = Annotated[str, typer.Option(help="A name from `python -m harness data list`.")]
DataPath = Annotated[
    Path | None, typer.Option("--path", help="Where the images are, for a data set that needs it.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")]
LoaderName = Annotated[
    LoaderChoice, typer.Option("--loader", help="auto: ffcv if it works here, else folder.")
]
Results = Annotated[Path, typer.Option(help="Where records are sealed.")]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad-images", help="Leave unreadable images out instead of ending with an error."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="Loader threads per run; default: all cores up to 12 on a GPU, else 1."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the recipe, such as lr=0.02; repeatable.",
    ),
]
Minutes = Annotated[
    float,
    typer.Option(
        "--checkpoint-minutes",
        min=0,
        help="Minutes between checkpoints, from which a stopped run resumes.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start from the beginning, even if there is a checkpoint.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, max=1024, help="torch threads per run; default: all cores.")
]

DEFAULT_MINUTES = 14.0  # of `reproduce`, with set-up and report within 15


def run(
    variant: Variant,
    recipe: RecipeName = "mini",
    data: Data = "fashion_mnist",
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="Seed of initial weights, image order, crops, noise and dropout."
        ),
    ] = 0,
    set_: Set = None,
    device: Device = "auto",
    path: DataPath = None,
    loader: LoaderName = "auto",
    placement: Annotated[
        Layout, typer.Option(help="two_towers: the two columns of the net on two devices, as in 2012.")
    ] = "one_device",
    threads: Threads = None,
    workers: Workers = None,
    skip_bad_images: SkipBad = False,
    format_: Format = "raw",
    jpeg_quality: JpegQuality = None,
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    save_weights: Annotated[
        Path | None, typer.Option(help="Write the trained weights to this .safetensors file.")
    ] = None,
    checkpoint_minutes: Minutes = 10,
    fresh: Fresh = False,
    results: Results = Path("results"),
) -> None:
    """Train and evaluate one variant, and seal a record. If it was stopped, the same command resumes
    it.

    Under torchrun, several processes train it together, each on its part of every batch, or with
    --placement two_towers two processes with a tower each.
    """
    from harness.cli.running import Asked, run_on_this_rank
    from harness.distributed.ranks import join

    asked = Asked(
        device,
        placement,
        loader,
        threads,
        workers,
        save_weights,
        60 * checkpoint_minutes,
        fresh,
        results,
    )
    with join() as ranks:
        request = request_of(
            variant,
            recipe,
            data,
            path,
            seed=seed,
            overrides=set_,
            skip_bad_images=skip_bad_images,
            store_format=format_,
            jpeg_quality=jpeg_quality,
            limit_train=limit_train,
            limit_val=limit_val,
        )
        record = run_on_this_rank(request, asked, ranks)
    if record is None:
        return
    print(found(record))
    result = next(iter(record.summary.results.values()))
    warning = chance_warning(variant, result.top1_error, result.images, record.spec.data.classes)
    if warning:
        print(warning, file=sys.stderr)


def reproduce(
    study: Annotated[
        str, typer.Option(help="A name from `python -m harness list --studies`.")
    ] = "reproduce",
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Start no run that would end later; every variant still runs once. Without --seeds, "
            "further seeds fill the time. Default: 14, with the study's seeds.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs per variant.")] = None,
    variants: Annotated[
        str | None, typer.Option(help="Comma-separated names of variants instead of the study's.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe instead of the study's.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set instead of the study's.")] = None,
    set_: Set = None,
    device: Device = "auto",
    path: DataPath = None,
    loader: LoaderName = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Runs at a time, on each GPU or on the CPU; default: one per GPU or core."
        ),
    ] = None,
    skip_bad_images: SkipBad = False,
    format_: Format = "raw",
    jpeg_quality: JpegQuality = None,
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    checkpoint_minutes: Minutes = 10,
    fresh: Fresh = False,
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("reports"),
) -> None:
    """Run a study's missing runs and write its report.

    More seeds give narrower intervals: --minutes 120.
    """

    from harness.cli.reproduce import Options, run_study
    from harness.devices import study_placement
    from harness.memory import largest_run_mib
    from harness.resolve import study_requests
    from harness.studies.rows import MOST_SEEDS, study_named

    if minutes is not None and not isfinite(minutes):
        raise UsageError(f"--minutes {minutes}: give a number of minutes")
    wanted = study_named(study, variants=names_in(variants), recipe=recipe, data=data)
    if seeds is None and minutes is not None and not wanted.searches:
        seeds = MOST_SEEDS
    wanted = replace(wanted, seeds=seeds or wanted.seeds)
    request = request_of(
        wanted.variants[0],
        wanted.recipe,
        wanted.data,
        path,
        overrides=[*wanted.settings, *(set_ or ())],
        skip_bad_images=skip_bad_images,
        store_format=format_,
        jpeg_quality=jpeg_quality,
        limit_train=limit_train,
        limit_val=limit_val,
    )
    largest = largest_run_mib(study_requests(request, wanted.variants, [0]))
    where, environments = study_placement(device, jobs, loader, run_mib=largest)
    limit_s = 60 * (DEFAULT_MINUTES if minutes is None else minutes)
    options = Options(where, environments, limit_s, 60 * checkpoint_minutes, fresh)
    run_study(study, wanted, request, options, results, out)


def evaluate(
    variant: Variant,
    weights: Annotated[
        Path, typer.Option(help="safetensors, or a torch state dict (read with weights_only).")
    ],
    recipe: Annotated[
        str, typer.Option(help="Recipe that gives geometry, normalisation and protocols.")
    ] = "mini",
    data: Data = "fashion_mnist",
    set_: Set = None,
    device: Device = "auto",
    path: DataPath = None,
    loader: LoaderName = "auto",
    threads: Threads = None,
    skip_bad_images: SkipBad = False,
    format_: Format = "raw",
    jpeg_quality: JpegQuality = None,
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Evaluate trained weights from a file under the recipe's protocols, in one pass."""
    from harness.cli.loading import load
    from harness.cli.progress import counting
    from harness.devices import run_placement
    from harness.resolve import check_request, run_spec
    from harness.run import evaluate_weights
    from harness.serialization import to_plain

    request = request_of(
        variant,
        recipe,
        data,
        path,
        overrides=set_,
        skip_bad_images=skip_bad_images,
        store_format=format_,
        jpeg_quality=jpeg_quality,
        limit_train=limit_train,
        limit_val=limit_val,
    )
    check_request(request)
    where = run_placement(device, threads, None, loader)
    prepared = load(request, loader)
    with counting() as progress:
        results = evaluate_weights(
            run_spec(request, prepared, where.device), prepared, weights, where, progress
        )
    if json:
        from json import dumps

        print(
            dumps(
                {name: to_plain(result) for name, result in results.items()}, indent=2, allow_nan=False
            )
        )
        return
    for name, result in results.items():
        located = (
            ""
            if result.localisation_error is None
            else f", localisation error {result.localisation_error:.2%}"
        )
        print(
            f"{name}: top-1 error {result.top1_error:.2%}, top-5 error "
            f"{result.top5_error:.2%}{located} (n = {result.images})"
        )


def names_in(text: str | None) -> tuple[str, ...] | None:
    """The names of a comma-separated option, each once; None if it is not given."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text else None


def request_of(
    variant: str,
    recipe: str,
    data: str,
    path: Path | None,
    *,
    seed: int = 0,
    overrides: Sequence[str] | None,
    skip_bad_images: bool,
    store_format: StoreFormat = "raw",
    jpeg_quality: int | None = None,
    limit_train: int | None,
    limit_val: int | None,
) -> RunRequest:
    """The request that the options of a command make.

    Raises UsageError where one limit lacks the other.
    """
    from harness.resolve import RunRequest

    return RunRequest(
        variant=variant,
        recipe=recipe,
        data=data,
        seed=seed,
        path=path,
        limits=both_limits(limit_train, limit_val),
        skip_bad_images=skip_bad_images,
        overrides=tuple(overrides or ()),
        store_format=store_format,
        jpeg_quality=jpeg_quality,
    )


def found(record: RunRecord) -> str:
    """The last line of a run: its errors under the first protocol, and where the record is."""
    protocol, result = next(iter(record.summary.results.items()))
    return (
        f"{record.spec.variant}: top-1 error {result.top1_error:.2%}, top-5 error "
        f"{result.top5_error:.2%} ({protocol}, n = {result.images}, {record.summary.loader} loader); "
        f"record: {record.path}"
    )


def chance_warning(variant: str, top1_error: float, images: int, classes: int) -> str | None:
    """A sentence for a network that is no better than guessing, else None."""
    from harness.report.stats import no_better_than_guessing

    if not no_better_than_guessing(top1_error, images, classes):
        return None
    guessing = f"{100 * (1 - 1 / classes):.2f} % top-1 error on {classes} classes"
    return (
        f"{variant} is no better than guessing, which has {guessing}. Train it for longer or with "
        "another learning rate before you compare it"
    )
