"""The command `submit`: the missing runs of a study as jobs of a cluster, or as processes of this
machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.data import LimitTrain, LimitVal
from harness.cli.runs import DataPath, LoaderName, Minutes, Results, Set, SkipBad, names_in, request_of
from harness.errors import UsageError


def submit(
    study: Annotated[str, typer.Argument(help="A study, as in: python -m harness reproduce --help")],
    executor: Annotated[
        Literal["local", "slurm"],
        typer.Option(help="local: processes of this machine; slurm: jobs of a cluster."),
    ] = "local",
    partition: Annotated[
        str | None, typer.Option(help="Partition of Slurm; with it, --executor slurm.")
    ] = None,
    minutes: Annotated[
        int,
        typer.Option(min=3, help="Time limit of a job; a run that needs longer goes on in a new job."),
    ] = 24 * 60,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Device of the jobs; cuda asks for one GPU.")
    ] = "cpu",
    cpus: Annotated[
        int, typer.Option(min=1, max=1024, help="Cores of a job: torch threads or loader threads.")
    ] = 1,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of jobs; default: one a run on Slurm, and one locally."),
    ] = None,
    array: Annotated[
        bool, typer.Option("--array", help="One array of Slurm instead of single jobs.")
    ] = False,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="With --array: jobs that run at a time.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs per variant; default: the study's.")
    ] = None,
    variants: Annotated[str | None, typer.Option(help="Comma-separated names of variants.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe instead of the study's.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set instead of the study's.")] = None,
    set_: Set = None,
    path: DataPath = None,
    loader: LoaderName = "auto",
    skip_bad_images: SkipBad = False,
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    checkpoint_minutes: Minutes = 10,
    results: Results = Path("results"),
) -> None:
    """Submit the missing runs of a study as jobs, through submitit. Results and cache must be on a
    shared disk.

    The data is prepared first, here. `status` lists the jobs' runs; `reproduce` writes the report once
    they have ended.
    """
    from harness.cli.loading import load
    from harness.cli.reproduce import study_tasks
    from harness.devices import loader_workers
    from harness.placement import Placement
    from harness.records.store import Store
    from harness.report.text import count
    from harness.resolve import check_request, study_requests
    from harness.studies.cluster import JobOptions, submit
    from harness.studies.rows import study_named

    if partition is not None:
        executor = "slurm"
    if array and executor == "local":
        raise UsageError("--array is of Slurm; give --partition or --executor slurm, or leave it out")
    wanted = study_named(study, variants=names_in(variants), recipe=recipe, data=data, seeds=seeds)
    request = request_of(
        wanted.variants[0],
        wanted.recipe,
        wanted.data,
        path,
        overrides=[*wanted.settings, *(set_ or ())],
        skip_bad_images=skip_bad_images,
        limit_train=limit_train,
        limit_val=limit_val,
    )
    firsts = study_requests(request, wanted.variants, [0])
    for one in firsts:
        check_request(one)
    store = Store(results)
    store.make()
    prepared = load(firsts[0], loader)
    where = Placement(device=device, threads=cpus, workers=loader_workers(cpus - 1), loader=loader)
    tasks = study_tasks(study, wanted, request, prepared, where, store, 60 * checkpoint_minutes)
    if not tasks:
        print(f"study {study}: all known runs are finished; nothing is submitted")
        return
    options = JobOptions(
        executor=executor,
        partition=partition,
        minutes=minutes,
        gpus=int(device == "cuda"),
        cpus=cpus,
        jobs=jobs or (1 if executor == "local" else len(tasks)),
        array=array,
        at_once=at_once,
    )
    ids = submit(tasks, results, options)
    print(
        f"study {study}: {count(len(tasks), 'run')} in {count(len(ids), 'job')} ({', '.join(ids)}); "
        "see: python -m harness status"
    )
