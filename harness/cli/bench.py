"""The commands `bench step`, `bench roofline`, `bench loader` and `bench pipeline`, which measure speeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.bench_towers import towers
from harness.cli.runs import Data, DataPath, Device, RecipeName, Set, Threads, Workers
from harness.placement import LoaderName

if TYPE_CHECKING:
    from harness.data.base import Prepared
    from harness.placement import Placement
    from harness.records.bench import BenchResult
    from harness.resolve import RunRequest
    from harness.spec import RunSpec

app = typer.Typer(
    help="Measure the loader, the training step, its layers, or loader and step together. Every "
    "command warms up until the speeds have no trend, and says so if they never settle.",
    no_args_is_help=True,
)
app.command()(towers)
Variant = Annotated[str, typer.Argument(help="A name from `python -m harness list`.")]
Loader = Annotated[
    LoaderName, typer.Option("--loader", help="auto: ffcv if it works here, else folder.")
]
Windows = Annotated[
    int,
    typer.Option(min=5, max=1000, help="Windows to measure after the warm-up; the median is reported."),
]
Peers = Annotated[bool, typer.Option(help="Measure other software, too, in turn with this.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Save = Annotated[
    bool, typer.Option("--save", help="Seal the result under RESULTS/bench, for the report.")
]
Results = Annotated[Path, typer.Option(help="Folder of sealed records, for --save.")]


@app.command()
def step(
    variant: Variant = "grouped_2gpu",
    recipe: RecipeName = "mini",
    data: Data = "synthetic",
    path: DataPath = None,
    set_: Set = None,
    device: Device = "auto",
    threads: Threads = None,
    windows: Windows = 9,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="OTHER",
            help="Measure another variant, or another value of a field such as precision=bf16, in turn "
            "with this one.",
        ),
    ] = None,
    peers: Peers = True,
    compiled: Annotated[
        bool,
        typer.Option("--compile-peer", help="Also measure torch.compile, which takes a minute or so."),
    ] = False,
    as_json: AsJson = False,
    save: Save = False,
    results: Results = Path("results"),
) -> None:
    """Measure the training step on a batch that stays in memory, and say what bounds it on this
    machine.
    """
    import torch

    from harness.bench.results import step_result
    from harness.bench.step import Step, measure_step
    from harness.bench.step_peers import step_peers

    opened = _open(variant, recipe, data, path, set_, device, threads, 1, "auto")
    on, others = torch.device(opened.where.device), {}
    missing: dict[str, str] = {}
    if compare is not None:
        others[compare] = Step(opened.other(compare), on).window()
    if peers:
        ways, missing = step_peers(opened.spec, on, compiled=compiled)
        others |= ways
    found = measure_step(opened.spec, on, windows, others)
    _give(opened, step_result(found, list(others), missing), as_json, save, results)


@app.command()
def roofline(
    variant: Variant = "grouped_2gpu",
    recipe: RecipeName = "mini",
    data: Data = "synthetic",
    path: DataPath = None,
    set_: Set = None,
    device: Device = "auto",
    threads: Threads = None,
    windows: Windows = 9,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it to this file: .png, .pdf or .svg.")
    ] = None,
    as_json: AsJson = False,
    save: Save = False,
    results: Results = Path("results"),
) -> None:
    """Measure each layer's forward and backward pass, and set it beside the least time it could take at
    the rates of arithmetic and copying measured in the same run.
    """
    import torch

    from harness.bench.layers import measure_layers
    from harness.bench.results import roofline_result

    if plot is not None:
        _check_name(plot)
    opened = _open(variant, recipe, data, path, set_, device, threads, 1, "auto")
    found = roofline_result(measure_layers(opened.spec, torch.device(opened.where.device), windows))
    if plot is not None:
        from harness.files import write_atomically
        from harness.report.roofline import roofline_plot

        write_atomically(plot, roofline_plot(found, kind=plot.suffix.removeprefix(".")))
    _give(opened, found, as_json, save, results)


@app.command()
def loader(
    variant: Variant = "grouped_2gpu",
    recipe: RecipeName = "mini",
    data: Data = "fashion_mnist",
    path: DataPath = None,
    set_: Set = None,
    loader: Loader = "auto",
    workers: Workers = None,
    windows: Windows = 9,
    peers: Peers = True,
    as_json: AsJson = False,
    save: Save = False,
    results: Results = Path("results"),
) -> None:
    """Measure the training loader, and compare it with other loaders on the same images."""
    from harness.bench.loader import measure_loader
    from harness.bench.results import loader_result

    opened = _open(variant, recipe, data, path, set_, "cpu", 1, workers, loader)
    found = measure_loader(opened.spec, opened.prepared, opened.where, windows, peers=peers)
    _give(opened, loader_result(found), as_json, save, results)


@app.command()
def pipeline(
    variant: Variant = "grouped_2gpu",
    recipe: RecipeName = "mini",
    data: Data = "fashion_mnist",
    path: DataPath = None,
    set_: Set = None,
    device: Device = "auto",
    loader: Loader = "auto",
    threads: Threads = None,
    workers: Workers = None,
    windows: Windows = 9,
    as_json: AsJson = False,
    save: Save = False,
    results: Results = Path("results"),
) -> None:
    """Measure the loader, the training step and both together, to see what limits training."""
    from harness.bench.pipeline import measure_pipeline
    from harness.bench.results import pipeline_result

    opened = _open(variant, recipe, data, path, set_, device, threads, workers, loader)
    found = measure_pipeline(opened.spec, opened.prepared, opened.where, windows)
    _give(opened, pipeline_result(found), as_json, save, results)


@app.command()
def regressions(
    folder: Annotated[Path, typer.Argument(help="Where pytest-benchmark stores its runs.")] = Path(
        ".benchmarks"
    ),
    runs_missing: Annotated[
        bool,
        typer.Option(
            "--runs-missing",
            help="Only print how many more runs are needed to know this machine's noise.",
        ),
    ] = False,
) -> None:
    """Compare the last run of `nox -s bench` with the one before on the same bench key. Exit code 1 if a
    benchmark got slower by more than this machine's noise, which runs of equal source give.
    """
    from harness.bench import regressions as suite

    runs = suite.suite_runs(folder)
    if runs_missing:
        print(suite.runs_missing(runs))
        return
    found = suite.changes(runs)
    if not found:
        print(f"no two runs with one bench key under {folder} yet; run: nox -s bench")
        return
    from rich.console import Console

    from harness.cli.terminal import print_table

    print_table(Console(), suite.change_table(found))
    if slower := [change.name for change in found if change.is_regression]:
        from harness.errors import HarnessError

        raise HarnessError(f"slower by more than the noise of this machine: {', '.join(slower)}")


@dataclass(frozen=True)
class _Opened:
    """The run that is measured, as a value, with its data."""

    request: RunRequest
    spec: RunSpec
    prepared: Prepared
    where: Placement

    def other(self, compared: str) -> RunSpec:
        """The run that `--compare` names, on the same data."""
        from harness.resolve import check_request, run_spec

        request = (
            replace(self.request, overrides=(*self.request.overrides, compared))
            if "=" in compared
            else replace(self.request, variant=compared)
        )
        check_request(request)
        return run_spec(request, self.prepared, self.where.device)


def _open(
    variant: str,
    recipe: str,
    data: str,
    path: Path | None,
    settings: list[str] | None,
    device: str,
    threads: int | None,
    workers: int | None,
    loader: LoaderName,
) -> _Opened:
    """Sets torch's threads, too."""
    import torch

    from harness.cli.loading import load
    from harness.devices import run_placement
    from harness.resolve import RunRequest, check_request, run_spec

    request = RunRequest(variant, recipe, data, 0, path, overrides=tuple(settings or ()))
    check_request(request)
    where = run_placement(device, threads, workers, loader)
    torch.set_num_threads(where.threads)
    prepared = load(request, loader)
    return _Opened(request, run_spec(request, prepared, where.device), prepared, where)


def _give(opened: _Opened, found: BenchResult, as_json: bool, save: bool, results: Path) -> None:
    """Print what was found, and seal it if that is wanted."""
    from datetime import UTC, datetime

    from harness.cli.bench_words import as_object, sentences

    place: Path | None = None
    if save:
        from harness.machine.collect_env import describe
        from harness.records.bench import seal_bench

        env = describe(results, opened.where)
        place = seal_bench(results, opened.spec, env, found, datetime.now(UTC))
    if as_json:
        import json

        shared: dict[str, Any] = as_object(opened.spec, opened.where, found)
        shared |= {} if place is None else {"record": str(place)}
        print(json.dumps(shared, indent=2, allow_nan=False))
        return
    for sentence in sentences(opened.spec, found):
        print(sentence)
    if place is not None:
        print(f"record: {place}")


def _check_name(plot: Path) -> None:
    """Raise UsageError, before anything is measured, for a kind of file that can't be drawn."""
    from harness.errors import UsageError
    from harness.report.figures import UNDATED

    if plot.suffix.removeprefix(".") not in UNDATED:
        raise UsageError(f"--plot {plot}: its name must end with .{' or .'.join(UNDATED)}")
