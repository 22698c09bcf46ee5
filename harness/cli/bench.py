"""The commands `bench step`, `bench loader` and `bench pipeline`, which measure speeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.bench_towers import towers
from harness.cli.runs import Data, DataPath, Device, RecipeName, Set, Threads, Workers
from harness.placement import LoaderName

if TYPE_CHECKING:
    from harness.bench.timing import Timing
    from harness.data.base import Prepared
    from harness.placement import Placement
    from harness.spec import RunSpec

app = typer.Typer(help="Measure the loader, the training step, or both together.", no_args_is_help=True)
app.command()(towers)
Variant = Annotated[str, typer.Argument(help="A name from `python -m harness list`.")]
Loader = Annotated[
    LoaderName, typer.Option("--loader", help="auto: ffcv if it works here, else folder.")
]
Windows = Annotated[
    int, typer.Option(min=5, max=1000, help="Windows to measure; the median is reported.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def step(
    variant: Variant = "grouped_2gpu",
    recipe: RecipeName = "mini",
    data: Data = "synthetic",
    path: DataPath = None,
    set_: Set = None,
    device: Device = "auto",
    threads: Threads = None,
    windows: Windows = 7,
    as_json: AsJson = False,
) -> None:
    """Measure the training step on a batch that stays in memory, and say what bounds it on this
    machine.
    """
    from harness.bench.step import measure_step

    spec, _, where = _open(variant, recipe, data, path, set_, device, threads, 1, "auto")
    found = measure_step(spec, _torch_device(where), windows)
    plain = found.timing.plain() | {
        "forward_ms": round(found.forward_ms, 2),
        "backward_ms": round(found.backward_ms, 2),
        "update_ms": round(found.update_ms, 2),
        "gflops": round(found.timing.images_per_second * found.flop_per_image / 1e9, 1),
        "gemm_gflops": round(found.rates.gemm_flops / 1e9, 1),
        "share_of_gemm": round(found.share_of_gemm, 3),
        "conv_gflops": round(found.rates.conv_flops / 1e9, 1),
        "memory_gb_per_s": round(found.rates.bytes_per_second / 1e9, 2),
        "least_arithmetic_ms": round(1000 * found.roofline.arithmetic_s, 2),
        "least_memory_ms": round(1000 * found.roofline.memory_s, 2),
        "bound_by": found.roofline.bound_by,
        "roofline_reached": round(found.roofline.reached, 3),
    }
    if as_json:
        _print_json(spec, where, plain)
        return
    print(f"{variant}, batch {spec.recipe.batch_size}, {spec.recipe.precision}: {_words(found.timing)}")
    print(
        f"forward {found.forward_ms:.1f} ms, backward {found.backward_ms:.1f} ms, update "
        f"{found.update_ms:.1f} ms; "
        f"{plain['gflops']:,} GFLOP/s, {found.share_of_gemm:.0%} of this machine's matrix product"
    )
    print(
        f"this machine: matrix product {plain['gemm_gflops']:,} GFLOP/s, largest convolution "
        f"{plain['conv_gflops']:,} "
        f"GFLOP/s, memory {plain['memory_gb_per_s']:,} GB/s"
    )
    print(
        f"bound by {found.roofline.bound_by}: at these rates arithmetic takes at least "
        f"{plain['least_arithmetic_ms']} "
        f"ms and memory {plain['least_memory_ms']} ms; their sum is {found.roofline.reached:.0%} of "
        "the step"
    )


@app.command()
def loader(
    variant: Variant = "grouped_2gpu",
    recipe: RecipeName = "mini",
    data: Data = "fashion_mnist",
    path: DataPath = None,
    set_: Set = None,
    loader: Loader = "auto",
    workers: Workers = None,
    windows: Windows = 7,
    as_json: AsJson = False,
) -> None:
    """Measure the training loader, and compare it with torchvision's loader on the same images."""
    from tempfile import TemporaryDirectory

    from harness.bench.loader import measure_loader

    spec, prepared, where = _open(variant, recipe, data, path, set_, "cpu", 1, workers, loader)
    with TemporaryDirectory() as scratch:
        found = measure_loader(spec, prepared, where, windows, Path(scratch))
    ours = found.timings["loader"]
    if as_json:
        peers = {name: timing.plain() for name, timing in found.timings.items() if name != "loader"}
        _print_json(
            spec,
            where,
            ours.plain() | {"loader": found.loader, "ratio_to": found.ratio_to, "peers": peers},
        )
        return
    print(f"{found.loader} loader ({found.reason}): {_words(ours)}")
    for name, ratio in found.ratio_to.items():
        print(f"{name}: {_words(found.timings[name])}; ratio per CPU second {ratio:.1f}")


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
    windows: Windows = 7,
    as_json: AsJson = False,
) -> None:
    """Measure the loader, the training step and both together, to see what limits training."""
    from harness.bench.pipeline import measure_pipeline

    spec, prepared, where = _open(variant, recipe, data, path, set_, device, threads, workers, loader)
    found = measure_pipeline(spec, prepared, where, windows)
    if as_json:
        timings = {name: timing.plain() for name, timing in vars(found).items()}
        bound = {
            "bound_by": found.bound_by,
            "without_bound_images_per_second": round(found.without_bound, 1),
        }
        _print_json(spec, where, timings | bound)
        return
    for name, timing in vars(found).items():
        print(f"{name}: {_words(timing)}")
    bound_by = "both equally" if found.bound_by == "both" else f"the {found.bound_by}"
    print(
        f"limited by {bound_by}; without this limit {found.without_bound:,.0f} images/s could be "
        "expected"
    )


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
) -> tuple[RunSpec, Prepared, Placement]:
    """The run that is measured, as a value, with its data. Sets torch's threads."""
    import torch

    from harness.cli.loading import load
    from harness.devices import run_placement
    from harness.resolve import RunRequest, check_request, run_spec

    request = RunRequest(variant, recipe, data, 0, path, overrides=tuple(settings or ()))
    check_request(request)
    where = run_placement(device, threads, workers, loader)
    torch.set_num_threads(where.threads)
    prepared = load(request, loader)
    return run_spec(request, prepared, where.device), prepared, where


def _torch_device(where: Placement) -> Any:
    import torch

    return torch.device(where.device)


def _words(timing: Timing) -> str:
    return (
        f"{timing.images_per_second:,.0f} images/s (median of {timing.windows} windows, "
        f"{timing.lowest:,.0f} to "
        f"{timing.highest:,.0f}), {timing.images_per_cpu_second:,.0f} per CPU second"
    )


def _print_json(spec: RunSpec, where: Placement, plain: dict[str, Any]) -> None:
    from harness.serialization import to_plain

    shared: dict[str, Any] = {
        "variant": spec.variant,
        "recipe": spec.recipe.name,
        "overrides": list(spec.overrides),
        "batch_size": spec.recipe.batch_size,
        "precision": spec.recipe.precision,
        "placement": to_plain(where),
    }
    print(json.dumps(shared | plain, indent=2, allow_nan=False))
