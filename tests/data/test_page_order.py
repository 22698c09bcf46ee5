"""The order by pages: a shuffle that needs few pages at a time, known in advance, the same with every loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_training import CPU, SIDE, STORED, net, pixels, prepared, recipe

from harness.checkpoint import Checkpoints
from harness.data.augment.counter_rng import epoch_order
from harness.data.augment.transforms import train_crop
from harness.data.base import LoaderSettings
from harness.data.loaders.factory import open_loader
from harness.data.page_order import PAGE, Pages, groups_of_pages, page_order, page_sequence, raw_pages
from harness.events import StepsDone
from harness.placement import Placement
from harness.set_up import training_loader
from harness.spec import RunSpec
from harness.train import TrainState, train
from variants.recipes.recipe import Recipe

SEED = 5
pages_of = st.builds(Pages, images=st.integers(1, 9), together=st.integers(1, 7))
numbers = st.integers(0, 400)


@given(numbers, st.integers(0, 2**32 - 1), st.integers(0, 90), pages_of)
def test_each_image_comes_once_and_the_pages_of_a_group_before_all_others(
    images: int, seed: int, epoch: int, pages: Pages
) -> None:
    order = page_order(seed, epoch, images + 1, pages)
    assert sorted(order.tolist()) == list(range(images + 1))
    groups = groups_of_pages(seed, epoch, pages.count(images + 1), pages.together)
    assert (np.diff(groups[order // pages.images]) >= 0).all()
    sizes = np.bincount(groups)
    assert sizes.max() <= pages.together
    assert sizes.sum() == pages.count(images + 1)
    sequence = page_sequence(seed, epoch, images + 1, pages)
    assert sorted(sequence.tolist()) == list(range(len(groups)))
    assert (np.diff(groups[sequence]) >= 0).all()


@given(st.integers(1, 60), st.integers(1, 9))
def test_the_pages_of_a_group_are_spread_over_the_file(count: int, together: int) -> None:
    groups = groups_of_pages(SEED, 0, count, together)
    length = groups.max() + 1
    for first in range(0, count, length):  # of each part of the file, one page a group
        part = groups[first : first + length].tolist()
        assert len(set(part)) == len(part)


def test_the_order_follows_from_seed_and_epoch_alone_and_differs_with_each() -> None:
    pages = Pages(images=3, together=4)
    torch.manual_seed(1)
    one = page_order(SEED, 2, 100, pages).tolist()
    torch.manual_seed(2)
    assert page_order(SEED, 2, 100, pages).tolist() == one
    assert one[:12] == [7, 8, 68, 32, 66, 67, 31, 6, 30, 97, 96, 57]  # the same on every machine
    assert page_order(SEED, 3, 100, pages).tolist() != one
    assert page_order(SEED + 1, 2, 100, pages).tolist() != one
    groups = [groups_of_pages(SEED, epoch, 34, 4).tolist() for epoch in (2, 3)]
    assert groups[0] != groups[1]


def test_a_split_that_fits_into_one_group_has_the_random_order() -> None:
    assert np.array_equal(page_order(SEED, 1, 99, Pages(images=9)), epoch_order(SEED, 1, 99))


def distinct(order: NDArray[np.int64], images: int, window: int) -> int:
    """The most pages of `images` images that a window of the order needs."""
    starts = range(0, len(order) - window + 1, window)
    return max(len(set((order[at : at + window] // images).tolist())) for at in starts)


def test_batches_need_few_pages() -> None:
    """50,000 raw images of 256 x 256: 42 a page, 1,191 pages; in windows of 20 batches of 128."""
    images, pages = 50_000, replace(raw_pages(256), together=64)
    assert pages.images == 42 == PAGE // (256 * 256 * 3)
    assert distinct(page_order(SEED, 0, images, pages), 42, 20 * 128) <= 2 * 64
    assert distinct(epoch_order(SEED, 0, images), 42, 20 * 128) > 1000


def test_images_of_a_file_sorted_by_class_are_mixed() -> None:
    """1,000 classes of 1,300 images, as in ImageNet: a batch has about as many classes as in random order."""
    images, pages = 1_300_000, raw_pages(256)
    classes = [
        np.mean([len(set((order[at : at + 128] // 1300).tolist())) for at in range(0, images, 6400)])
        for order in (page_order(SEED, 0, images, pages), epoch_order(SEED, 0, images))
    ]
    assert classes[0] == pytest.approx(classes[1], rel=0.02)
    first = page_order(SEED, 0, images, pages)[: 1024 * 42]
    assert len(set((first // 1300).tolist())) > 900


def settings(**changes: object) -> LoaderSettings:
    made = LoaderSettings(batch_size=4, seed=SEED, shuffle=True, pages=Pages(images=3, together=2))
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_ranks_read_the_whole_order_between_them(ranks: int) -> None:
    data = prepared(23)
    loaders = [
        open_loader(data, "train", settings(rank=rank, world_size=ranks)) for rank in range(ranks)
    ]
    read: list[list[list[int]]] = []
    for loader in loaders:
        with loader.epoch(2) as batches:
            read.append([batch.indices.tolist() for batch in batches])
    found = [image for parts in zip(*read, strict=True) for part in parts for image in part]
    assert found == page_order(SEED, 2, 23, Pages(images=3, together=2)).tolist()


def losses(state: TrainState, rules: Recipe, stop_at: int) -> list[float]:
    data = prepared(23)
    loader = open_loader(data, "train", settings(crop=train_crop(rules, SIDE)))
    val = open_loader(data, "val", LoaderSettings(batch_size=23))
    stop = lambda: state.done >= stop_at  # noqa: E731
    found = train(state, loader, {"val": val}, pixels(rules), rules, CPU, stop=stop)
    return [loss for event in found if isinstance(event, StepsDone) for loss in event.losses]


@pytest.mark.parametrize("at", [1, 6, 8])
def test_a_run_that_resumes_goes_on_in_its_order_to_the_bit(tmp_path: Path, at: int) -> None:
    rules = recipe(batch_size=4, order="pages")
    whole = losses(begin(rules, seed=3), rules, 99)
    stopped = begin(rules, seed=3)
    before = losses(stopped, rules, at)
    checkpoints = Checkpoints(tmp_path, run_spec(rules), 600.0, lambda: 0.0)
    checkpoints.save(stopped, [], "run-1")
    again = begin(rules, seed=99)
    assert checkpoints.load(again) is not None
    assert again.done == at == len(before)
    assert before + losses(again, rules, 99) == whole


def begin(rules: Recipe, seed: int) -> TrainState:
    torch.manual_seed(seed)
    return TrainState.start(net(), rules)


def run_spec(rules: Recipe) -> RunSpec:
    return RunSpec(
        variant="tiny",
        geometry="mini",
        net=net().spec,
        recipe=rules,
        data=prepared(23).spec,
        seed=SEED,
    )


def test_the_recipe_decides_the_order_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def three_a_page(side: int) -> Pages:
        asked.append(side)
        return Pages(images=3, together=2)

    monkeypatch.setattr("harness.set_up.raw_pages", three_a_page)
    found = []
    for rules in (recipe(order="pages"), recipe()):
        with training_loader(run_spec(rules), prepared(23), Placement()).epoch(1) as batches:
            found.append([image for batch in batches for image in batch.indices.tolist()])
    assert asked == [STORED]
    assert found[0] == page_order(SEED, 1, 23, Pages(images=3, together=2)).tolist()
    assert found[1] == epoch_order(SEED, 1, 23).tolist()
