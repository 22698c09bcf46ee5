"""A network, a loader and pixels small enough to train in milliseconds, for the tests of training and evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from harness.data.augment.crops import draw_crops
from harness.data.augment.transforms import ImageTransform
from harness.data.base import Batch, CropRule, LoaderChoice, Prepared
from harness.data.loaders.synthetic import prepare_synthetic
from harness.data.prepare.manifest import StoreSettings
from harness.spec import DataSpec, RunSpec
from variants.layers import Activation, Conv, Dense, Dropout
from variants.modules.alexnet import AlexNet, build
from variants.recipes.recipe import Augmentation, Evaluation, FixedDrops, Recipe
from variants.spec import AlexNetSpec

SIDE, STORED = 8, 10
CPU = torch.device("cpu")
NET = AlexNetSpec(
    input_size=SIDE,
    layers=(
        Conv(name="conv1", out=4, kernel=3, stride=2),
        Activation(name="relu1"),
        Dropout(name="drop1"),
        Dense(name="fc8", out=10),
    ),
)
BOXED = AlexNetSpec(input_size=SIDE, layers=NET.layers, box=Dense(name="box", out=4))


def recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {
        "name": "tiny",
        "batch_size": 8,
        "epochs": 2.0,
        "lr": 1e-4,
        "schedule": FixedDrops(at_epochs=()),
        "augmentation": Augmentation(colour_std=0.0),
        "evaluation": Evaluation(protocols=("centre",), every_epochs=0.0),
        "store_size": STORED,
    }
    return Recipe(**(plain | changes))


def prepared(images: int) -> Prepared:
    return prepare_synthetic(StoreSettings(store_size=STORED, limit=(images, images)))


def run_spec(images: int = 32, rules: Recipe | None = None) -> RunSpec:
    """A run on `prepared(images)`."""
    data = DataSpec(
        name="synthetic",
        listing="0",
        classes=10,
        train_images=images,
        val_images=images,
        store_size=STORED,
    )
    return RunSpec(
        variant="tiny", geometry="mini", net=NET, recipe=rules or recipe(), data=data, seed=0
    )


def pixels(rules: Recipe, images: int = 32) -> ImageTransform:
    return ImageTransform(prepared(images), rules, SIDE, 0, CPU)


def net(spec: AlexNetSpec = NET) -> AlexNet:
    return build(spec, generator=torch.Generator().manual_seed(0))


class FakeLoader:
    """Random images of one size; `orders` gives the batches' indices, epoch by epoch the same."""

    def __init__(
        self, images: int, orders: list[list[int]], side: int = SIDE, boxes: torch.Tensor | None = None
    ) -> None:
        self.choice = LoaderChoice(name="synthetic", reason="for a test")
        self.images, self.batches = images, len(orders)
        generator = torch.Generator().manual_seed(1)
        self.pictures = torch.randint(
            0, 256, (images, 3, side, side), dtype=torch.uint8, generator=generator
        )
        self.labels = torch.arange(images) % 10
        self.boxes = boxes
        self.left = 0
        self._orders = orders

    def epoch(self, epoch: int) -> AbstractContextManager[Iterator[Batch]]:
        return self._epoch()

    @contextlib.contextmanager
    def _epoch(self) -> Iterator[Iterator[Batch]]:
        try:
            yield (self._batch(order) for order in self._orders)
        finally:
            self.left += 1

    def _batch(self, order: list[int]) -> Batch:
        boxes = None if self.boxes is None else self.boxes[order]
        # of the centre
        crops = draw_crops(CropRule(size=SIDE), STORED, seed=0, epoch=0, indices=np.array(order))
        return Batch(self.pictures[order], self.labels[order], torch.tensor(order), boxes, crops)


def in_batches(images: int, size: int) -> list[list[int]]:
    return [list(range(first, min(first + size, images))) for first in range(0, images, size)]
