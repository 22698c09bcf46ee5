"""What a run trains with: torch's settings, the network with its initial weights, and the loaders."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch

from harness.data.augment.transforms import ImageTransform, train_crop
from harness.data.base import Loader, LoaderSettings, Prepared
from harness.data.loaders.factory import open_loader
from harness.data.names import Split
from harness.data.page_order import raw_pages
from harness.distributed.ranks import ALONE, Ranks
from harness.events import Event
from harness.machine.allocator import keep_freed_memory
from harness.placement import Placement
from harness.spec import RunSpec
from harness.train import TrainState, train
from variants.modules.alexnet import build
from variants.modules.network import Network
from variants.modules.tower_rank import TowerRank
from variants.modules.towers import split
from variants.recipes.recipe import Recipe

EVALUATION_BATCH = 250  # images, on each rank


@dataclass(frozen=True)
class Parts:
    """What a run trains with, and evaluates on."""

    state: TrainState
    loader: Loader
    eval_loaders: dict[Split, Loader]
    pixels: ImageTransform

    def train(
        self, recipe: Recipe, device: torch.device, stop: Callable[[], bool], ranks: Ranks
    ) -> Generator[Event, None, None]:
        return train(
            self.state,
            self.loader,
            self.eval_loaders,
            self.pixels,
            recipe,
            device,
            stop=stop,
            ranks=ranks,
        )


def set_up(spec: RunSpec, prepared: Prepared, where: Placement, ranks: Ranks) -> Parts:
    """The network with its initial weights, and the loaders; the same on each rank but for the
    loaders' slices.
    """
    recipe, device = spec.recipe, torch.device(where.device)
    if ranks.world_size > 1 and device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL's buffers go to the current device
    slices = ALONE if spec.layout == "two_towers" else ranks  # of each batch; two towers read all of it
    loader, val_loader = open_loaders(spec, prepared, where, slices)
    model = network(spec, where, ranks).to(memory_format=torch.channels_last)
    pixels = ImageTransform(prepared, recipe, spec.net.input_size, spec.seed, device)
    eval_loaders: dict[Split, Loader] = {"val": val_loader}
    if recipe.evaluation.training_error:
        eval_loaders = {
            "train": evaluation_loader(spec, prepared, where, "train", slices),
            **eval_loaders,
        }
    return Parts(TrainState.start(model, recipe), loader, eval_loaders, pixels)


def network(spec: RunSpec, where: Placement, ranks: Ranks) -> Network:
    """The net of the run with its initial weights, as this rank has it."""
    net = build(spec.net, generator=torch.Generator().manual_seed(spec.seed))
    if spec.layout == "one_device":
        return net.to(where.device)
    if ranks.world_size == 1:
        return split(net, (where.device, where.second_device or where.device))
    return TowerRank(split(net, ("cpu", "cpu")), ranks.rank).to(where.device)


def open_loaders(
    spec: RunSpec, prepared: Prepared, where: Placement, ranks: Ranks = ALONE
) -> tuple[Loader, Loader]:
    """Training crops in the recipe's order, and whole stored images of the validation set in the order of
    the split.
    """
    train = training_loader(spec, prepared, where, ranks)
    return train, evaluation_loader(spec, prepared, where, "val", ranks)


def training_loader(
    spec: RunSpec, prepared: Prepared, where: Placement, ranks: Ranks = ALONE
) -> Loader:
    """Training crops in the recipe's order."""
    recipe = spec.recipe
    settings = LoaderSettings(
        batch_size=recipe.batch_size,
        crop=train_crop(recipe, spec.net.input_size),
        seed=spec.seed,
        shuffle=True,
        workers=where.workers,
        rank=ranks.rank,
        world_size=ranks.world_size,
        pages=raw_pages(spec.data.store_size) if recipe.order == "pages" else None,
    )
    return open_loader(prepared, "train", settings, where.loader)


def evaluation_loader(
    spec: RunSpec, prepared: Prepared, where: Placement, split: Split, ranks: Ranks = ALONE
) -> Loader:
    """Whole stored images of a split, in its order."""
    settings = LoaderSettings(
        batch_size=EVALUATION_BATCH * ranks.world_size,
        seed=spec.seed,
        workers=where.workers,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    return open_loader(prepared, split, settings, where.loader)


def set_up_torch(seed: int, threads: int, *, deterministic: bool) -> None:
    """Seed, threads and algorithms.

    On the CPU torch has only deterministic ones for this, so the choice is a GPU's.
    """
    # without it cuBLAS may add in another order
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # In deterministic mode torch fills every new tensor with NaN: 97 fills a step instead of 6. They
    # serve to find code that reads memory before it writes to it. Where there is none, and
    # tests/unit/test_fast_mode.py finds none, no value that is read is ever a filled one, so that
    # leaving them out changes no number.
    # a property
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # measures cuDNN's algorithms at the first step of each shape
    torch.backends.cudnn.benchmark = not deterministic
    keep_freed_memory()
