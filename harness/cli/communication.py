"""`show --communication`: what GPUs send each other in a training step, as two towers and in data
parallelism.
"""

from __future__ import annotations

from dataclasses import asdict

import typer

from harness.cli.tables import new_table, print_json, print_table
from variants.communication import (
    Link,
    all_reduce_bytes,
    bytes_per_tower,
    gradient_bytes,
    overtaking_batch,
    tower_links,
)
from variants.recipes.recipe import Geometry
from variants.spec import AlexNetSpec
from variants.values import SpecError

RANKS = (2, 4, 8)


def show_communication(
    name: str, geometry: Geometry, spec: AlexNetSpec, batch_size: int, as_json: bool
) -> None:
    """Print both tables, and the batch size from which on two towers send more. batch_size: of the
    global batch.
    """
    try:
        links, why = tower_links(spec, batch_size), None
    except SpecError as error:
        links, why = (), str(error)
    ranks = {n: all_reduce_bytes(gradient_bytes(spec), n) for n in RANKS}
    batch = overtaking_batch(spec) if links else None
    if as_json:
        plain = {
            "name": name,
            "geometry": geometry,
            "batch_size": batch_size,
            "two_towers": list(map(asdict, links)),
        }
        print_json({**plain, "no_towers": why, "data_parallel": ranks, "overtaking_batch": batch})
        return
    typer.echo(
        f"{name} ({geometry}): bytes that a GPU sends in a training step of {batch_size:,} images, in "
        "float32\n"
    )
    if links:
        _print_links(links)
    else:
        typer.echo(f"no two towers: {why}\n")
    _print_ranks(ranks)
    if batch is not None:
        typer.echo(
            "\nData parallel sends the same for every batch. With two GPUs, two towers send more from "
            f"a global batch of {batch:,} images on.\n\n"
            f"Measured, on the CPU or on two GPUs: python -m harness bench towers {name}"
        )


def _print_links(links: tuple[Link, ...]) -> None:
    columns = ("GPU 0 forward", "GPU 0 backward", "GPU 1 forward", "GPU 1 backward")
    made = new_table("two towers, before", *columns, right=columns)
    for link in links:
        sent = (link.forward[0], link.backward[0], link.forward[1], link.backward[1])
        made.add_row(link.layer, *(f"{number:,}" for number in sent))
    print_table(made)
    typer.echo(f"\nTwo towers: each GPU sends {bytes_per_tower(links):,} bytes.\n")


def _print_ranks(ranks: dict[int, float]) -> None:
    made = new_table("data parallel", "each GPU", right=("each GPU",))
    for n, sent in ranks.items():
        made.add_row(f"{n} GPUs, ring all-reduce", f"{sent:,.0f}")
    print_table(made)
