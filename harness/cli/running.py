"""One run, as `run` and torchrun start it: the first rank trains and records, the others train with
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.cli.loading import load
from harness.cli.progress import board, console
from harness.devices import run_placement
from harness.distributed.data_parallel import refuse_unsuitable
from harness.distributed.ranks import Ranks
from harness.errors import UsageError
from harness.finished import weights_place
from harness.placement import LoaderName
from harness.records.store import RunRecord, Store
from harness.resolve import RunRequest, check_request, run_spec
from harness.run import execute, follow
from variants.columns import Layout


@dataclass(frozen=True)
class Asked:
    """How and where to run, as the command line says it."""

    device: str
    layout: Layout
    loader: LoaderName
    threads: int | None
    workers: int | None
    save_weights: Path | None
    checkpoint_s: float
    fresh: bool
    results: Path


def run_on_this_rank(request: RunRequest, asked: Asked, ranks: Ranks) -> RunRecord | None:
    """The sealed record on the first rank; None on the others, which print nothing."""
    console.quiet = ranks.rank > 0
    check_request(request)
    where = run_placement(asked.device, asked.threads, asked.workers, asked.loader, layout=asked.layout)
    if asked.save_weights is not None:
        weights_place(asked.save_weights)
        if asked.save_weights.suffix != ".safetensors":
            raise UsageError(
                "weights are written as safetensors; use a name that ends in .safetensors, not "
                f"{asked.save_weights}"
            )
    store = Store(asked.results)
    store.make()
    prepared = load(request, asked.loader)
    spec = run_spec(request, prepared, where.device, ranks.world_size, asked.layout)
    refuse_unsuitable(spec)
    if ranks.rank > 0:
        follow(spec, prepared, store, where, ranks, asked.fresh)
        return None
    with board() as bars:
        return execute(
            spec,
            prepared,
            store,
            where,
            lambda event: bars.event(request.variant, event),
            asked.save_weights,
            checkpoint_s=asked.checkpoint_s,
            fresh=asked.fresh,
            ranks=ranks,
        )
