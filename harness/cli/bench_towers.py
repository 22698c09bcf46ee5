"""The command `bench towers`: the paper's two GPUs against one, as two processes against one."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.cli.runs import RecipeName, Set
from harness.errors import UsageError

ONE_GPU = "single_gpu"


def towers(
    variant: Annotated[
        str, typer.Argument(help="A name from `python -m harness list`, of a net with two columns.")
    ] = "grouped_2gpu",
    recipe: RecipeName = "mini",
    set_: Set = None,
    device: Annotated[
        str, typer.Option(help="cpu: one thread for each tower; cuda: one GPU for each.")
    ] = "cpu",
    windows: Annotated[
        int,
        typer.Option(
            min=5, max=1000, help="Windows to measure after the warm-up; the median is reported."
        ),
    ] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a training step of two towers in two processes, beside that of the paper's one-GPU net and
    of the same net in one process.
    """
    import torch

    from harness.bench.towers import TOWERS, measure_towers
    from harness.cli.bench_words import NOT_STEADY, speed_words
    from harness.cli.loading import load
    from harness.resolve import RunRequest, check_request, run_spec
    from harness.serialization import to_plain

    if device not in ("cpu", "cuda"):
        raise UsageError(f"bench towers has no device '{device}'; use cpu or cuda")
    if device == "cuda" and torch.cuda.device_count() < 2:
        raise UsageError("two towers need two GPUs here; use --device cpu")
    requests = [
        RunRequest(name, recipe, "synthetic", 0, overrides=tuple(set_ or ()))
        for name in (variant, ONE_GPU)
    ]
    for request in requests:
        check_request(request)
    prepared = load(requests[0], "auto")
    spec = run_spec(requests[0], prepared, device, 2, "two_towers")
    found = measure_towers(spec, run_spec(requests[1], prepared, device), device, windows)
    timings = found.windows.timings()
    if as_json:
        plain = {
            "variant": variant,
            "recipe": recipe,
            "batch_size": spec.recipe.batch_size,
            "precision": spec.recipe.precision,
            "device": device,
            "warm_up_windows": found.windows.warm_ups,
            "steady": found.windows.steady,
            "timings": {name: to_plain(timing) for name, timing in timings.items()},
            "time_ratios": {name: to_plain(ratio) for name, ratio in found.time_ratios.items()},
            "communication_ms": found.communication_ms,
            "bytes_sent": found.bytes_sent,
        }
        print(json.dumps(plain, indent=2, allow_nan=False))
        return
    print(f"{variant}, {recipe}, batch {spec.recipe.batch_size}, {spec.recipe.precision}, {device}")
    for name, timing in timings.items():
        print(f"{name}: {speed_words(timing)}")
    step_ms = 1000 * spec.recipe.batch_size / timings[TOWERS].images_per_second
    first_ms, second_ms = found.communication_ms
    print(
        f"a step of the two towers takes {step_ms:,.1f} ms; of these they send or wait for each other "
        f"{first_ms:,.1f} and {second_ms:,.1f} ms; each sends {found.bytes_sent:,} bytes"
    )
    for name, ratio in found.time_ratios.items():
        print(
            f"that is {ratio.per_second:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) times the time of {name}"
        )
    if not found.windows.steady:
        print(NOT_STEADY.format(found.windows.warm_ups))
    print(
        f"by multiply-accumulates alone it would be {found.macs_ratio:.2f} times the time of "
        f"{ONE_GPU}; the paper says slightly less time (sec. 3.2)"
    )
