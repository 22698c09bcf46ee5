"""Finding the prepared images of a record, and reading some of them by the index that its bits have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import CPU, net, pixels, recipe
from tiny_training import prepared as tiny

from harness.data.base import LoaderSettings, Prepared
from harness.data.loaders.by_index import read_images
from harness.data.loaders.factory import open_loader
from harness.data.prepare.job import find_prepared, prepare
from harness.data.prepare.manifest import StoreSettings
from harness.errors import DataError
from harness.evaluate import evaluate
from harness.spec import CIFAR_10_JPEG


def test_data_is_found_by_its_contents_without_its_source(
    ready: Callable[..., Prepared], tree: Path, tmp_path: Path
) -> None:
    small, large = ready(), ready(store_size=20)
    tree.rename(tmp_path / "moved")
    for prepared in (small, large):
        found = find_prepared(prepared.spec, cache=tmp_path / "cache")
        assert (found.folder, found.manifest) == (prepared.folder, prepared.manifest)


def test_other_images_of_the_same_name_are_not_taken(
    ready: Callable[..., Prepared], tmp_path: Path
) -> None:
    spec = replace(ready().spec, listing="cd" * 32)
    with pytest.raises(
        DataError,
        match=r"^folder at 16 pixels with 4 training and 4 validation images and the digest cdcdcdcdcdcd "
        r"is not prepared on this machine; run: python -m harness data prepare folder --path FOLDER "
        r"--size 16$",
    ):
        find_prepared(spec, cache=tmp_path / "cache")


def test_the_command_has_the_options_of_the_images(
    ready: Callable[..., Prepared], tmp_path: Path
) -> None:
    spec = replace(
        ready().spec,
        name="cifar10",
        store_format="jpeg",
        jpeg_quality=90,
        contents=CIFAR_10_JPEG,
    )
    with pytest.raises(
        DataError, match=r"prepare cifar10 --path FOLDER --size 16 --format jpeg --jpeg-quality 90$"
    ):
        find_prepared(spec, cache=tmp_path / "cache")


def test_images_in_memory_are_made_again(tmp_path: Path) -> None:
    spec = prepare("synthetic", StoreSettings(store_size=8, limit=(3, 4))).spec
    assert find_prepared(spec, cache=tmp_path).spec == spec
    with pytest.raises(DataError, match=r"synthetic at 8 pixels .* is not prepared"):
        find_prepared(replace(spec, listing="cd" * 32), cache=tmp_path)


@pytest.mark.parametrize("loader", ["folder", "ffcv"])
def test_an_index_is_the_place_in_the_split(memory: str, tmp_path: Path, loader: str) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    prepared = prepare(memory, StoreSettings(store_size=12), loader=loader, cache=tmp_path, workers=1)  # type: ignore[arg-type]
    pictures = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)  # of conftest
    found = read_images(prepared, "val", {4, 0, 3}, loader=loader)  # type: ignore[arg-type]
    assert {index: label for index, (_, label) in found.items()} == {0: 0, 3: 1, 4: 0}
    for index, (image, _) in found.items():
        assert np.array_equal(image, pictures[index])


def test_an_evaluations_bit_is_the_answer_to_the_image_with_its_index() -> None:
    images, model, shown = 60, net(), pixels(recipe())
    data = tiny(images)
    loader = open_loader(data, "val", LoaderSettings(batch_size=7))
    bits = evaluate(model, loader, shown, ["centre"], CPU, "fp32")["centre"].top1
    assert 0 < bits.sum() < images
    for index, (image, label) in read_images(data, "val", range(images)).items():
        (view,) = shown.views(torch.from_numpy(image).permute(2, 0, 1)[None], "centre")
        assert (int(model(view).argmax()) == label) == bits[index], index
