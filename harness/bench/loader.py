"""Measures the training loader, and for comparison other loaders on the same images (loader_peers.py).

FFCV's time is that of this process; the worker processes of the other loaders are counted, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.bench.loader_peers import loader_peers
from harness.bench.timing import Way, Windows, interleaved
from harness.data.base import Loader, LoaderChoice, Prepared
from harness.placement import Placement
from harness.set_up import training_loader
from harness.spec import RunSpec

WINDOW_BATCHES = 500  # many more than the 3 that FFCV loads in advance


@dataclass(frozen=True)
class LoaderResult:
    """windows: of this loader under "loader", and of each peer. missing: why a peer was not measured.

    choice: which loader it is, and why.
    """

    windows: Windows
    choice: LoaderChoice
    missing: dict[str, str]


def measure_loader(
    spec: RunSpec, prepared: Prepared, where: Placement, windows: int, *, peers: bool = True
) -> LoaderResult:
    """Measure this loader and its peers alternately."""
    loader = training_loader(spec, prepared, where)
    ours = {"loader": batches_of(loader, WINDOW_BATCHES * spec.recipe.batch_size)}
    if not peers:
        return LoaderResult(interleaved(ours, windows), loader.choice, {})
    with (
        TemporaryDirectory(prefix="harness-bench-") as scratch,
        loader_peers(spec, prepared, where.workers, Path(scratch)) as (others, missing),
    ):
        return LoaderResult(interleaved(ours | others, windows), loader.choice, missing)


def batches_of(loader: Loader, images: int) -> Way:
    """Starts an epoch and takes so many images from it, or all; returns how many.

    Each window starts anew, so that none counts batches that were loaded ahead while something else was
    timed.
    """
    epochs = count()

    def window() -> int:
        taken = 0
        with loader.epoch(next(epochs)) as batches:
            for batch in batches:
                taken += len(batch.labels)
                if taken >= images:
                    break
        return taken

    return window
