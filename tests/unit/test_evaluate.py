"""Evaluation: every image exactly once, softmax averaged over views, and boxes scored beside classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import BOXED, CPU, NET, SIDE, STORED, FakeLoader, in_batches, net, pixels, recipe

from harness.data.augment.transforms import CENTRE_OF_TEN, MIRROR_OF_TEN
from harness.errors import RunFailed
from harness.evaluate import ImageResults, evaluate

IMAGES = 11


def found(orders: list[list[int]], *protocols: str, images: int = IMAGES) -> dict[str, ImageResults]:
    loader = FakeLoader(images, orders, side=STORED)
    return evaluate(net(), loader, pixels(recipe()), protocols, CPU, "fp32")  # type: ignore[arg-type]


def test_the_last_partial_batch_counts() -> None:
    result = found(in_batches(IMAGES, 4), "centre")["centre"].result()
    assert result.images == IMAGES


def test_batch_size_changes_no_answer() -> None:
    whole, parts = (found(in_batches(IMAGES, size), "centre")["centre"] for size in (IMAGES, 3))
    assert np.array_equal(whole.top1, parts.top1)
    assert np.array_equal(whole.top5, parts.top5)
    assert np.allclose(whole.log_losses, parts.log_losses, rtol=1e-5)  # sums in another order, float32


@pytest.mark.parametrize(
    "orders",
    [
        pytest.param([[0, 1, 2], [4, 5, 6, 7, 8, 9, 10]], id="one is skipped"),
        pytest.param([*in_batches(IMAGES, 4), [3]], id="one comes again in another batch"),
        pytest.param([*in_batches(IMAGES - 1, 5), [10, 10]], id="one comes twice in a batch"),
        pytest.param([[*range(10), 9]], id="one stands in for another"),
        pytest.param([], id="none comes"),
    ],
)
def test_a_loader_that_repeats_or_skips_an_image_is_refused(orders: list[list[int]]) -> None:
    with pytest.raises(RunFailed, match=r"^centre: \d+ of 11 images were not seen exactly once$"):
        found(orders, "centre")


def test_ten_view_is_the_mean_of_softmax_outputs_not_of_logits() -> None:
    """On a net with large logits the two differ by far more than float32's rounding."""
    model, rules = net(), recipe()
    with torch.no_grad():
        model.get_parameter("fc8.weight").mul_(30.0)
    loader = FakeLoader(IMAGES, in_batches(IMAGES, 4), side=STORED)
    log_losses = evaluate(model, loader, pixels(rules), ["ten_view"], CPU, "fp32")[
        "ten_view"
    ].log_losses
    model.eval()
    with torch.no_grad():
        views = torch.stack(list(pixels(rules).views(loader.pictures, "ten_view")), dim=1)
        logits = model(views.flatten(0, 1)).view(IMAGES, 10, -1)
    mean = logits.softmax(2).mean(1)[torch.arange(IMAGES), loader.labels]
    wrong = logits.mean(1).softmax(1)[torch.arange(IMAGES), loader.labels]
    assert np.allclose(log_losses, -mean.double().log().numpy(), rtol=1e-4)
    assert not np.allclose(log_losses, -wrong.double().clamp(min=1e-45).log().numpy(), rtol=0.01)


def test_centre_and_mirror_read_off_the_ten_views_are_those_computed_alone() -> None:
    orders = in_batches(IMAGES, 4)
    together = found(orders, "centre", "mirror", "ten_view")
    for name in ("centre", "mirror"):
        alone = found(orders, name)[name]
        assert np.array_equal(together[name].top1, alone.top1)
        assert np.array_equal(together[name].top5, alone.top5)
        # each view is a batch of its own, so the bits are the same
        assert np.array_equal(together[name].log_losses, alone.log_losses)
    assert not np.allclose(together["centre"].log_losses, together["mirror"].log_losses)
    assert (CENTRE_OF_TEN, MIRROR_OF_TEN) == (4, 9)


def test_ten_views_hold_one_view_of_a_batch_at_a_time() -> None:
    """250 images x 10 views at once took 16.6 GiB at full size, after the last epoch."""
    model, sizes = net(), list[int]()
    model.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    loader = FakeLoader(IMAGES, in_batches(IMAGES, 4), side=STORED)
    evaluate(model, loader, pixels(recipe()), ["ten_view"], CPU, "fp32")
    assert max(sizes) == 4
    assert sum(sizes) == 10 * IMAGES


def test_fewer_than_five_classes_make_top5_always_right() -> None:
    few = net(NET.with_classes(3))
    loader = FakeLoader(3, [[0, 1, 2]], side=STORED)
    assert evaluate(few, loader, pixels(recipe()), ["centre"], CPU, "fp32")["centre"].top5.all()


def test_outputs_that_are_no_numbers_are_refused() -> None:
    model = net()
    with torch.no_grad():
        model.get_parameter("fc8.bias").fill_(float("nan"))
    loader = FakeLoader(IMAGES, in_batches(IMAGES, 4), side=STORED)
    with pytest.raises(
        RunFailed, match=r"^centre: the network gives no finite scores for 11 of 11 images"
    ):
        evaluate(model, loader, pixels(recipe()), ["centre"], CPU, "fp32")


def test_localisation_is_right_where_class_and_box_are() -> None:
    """The net's box is a constant: the centre view's middle. Two images have theirs there, two elsewhere."""
    model = net(BOXED)
    with torch.no_grad():
        model.get_parameter("box.weight").zero_()
        model.get_parameter("box.bias").copy_(torch.tensor([0.25, 0.25, 0.5, 0.5]))
        model.get_parameter("fc8.weight").zero_()
        model.get_parameter("fc8.bias").copy_(torch.arange(10.0).flip(0))  # class 0 first, then 1, ...
    margin = (STORED - SIDE) // 2 / STORED  # fractions of the stored square, not of the view
    middle = [
        margin + 0.25 * SIDE / STORED,
        margin + 0.25 * SIDE / STORED,
        0.5 * SIDE / STORED,
        0.5 * SIDE / STORED,
    ]
    boxes = torch.tensor([middle, [0.0, 0.0, 0.2, 0.2], middle, [0.8, 0.8, 0.2, 0.2]])
    loader = FakeLoader(4, [[0, 1], [2, 3]], side=STORED, boxes=boxes)
    loader.labels = torch.tensor([0, 0, 5, 5])
    result = evaluate(model, loader, pixels(recipe()), ["centre", "mirror"], CPU, "fp32", boxed=True)
    assert result["centre"].box_hits is not None
    assert result["centre"].box_hits.tolist() == [True, False, True, False]
    assert result["centre"].result().top1_error == 0.5
    assert result["centre"].result().localisation_error == 0.75  # image 0 alone has class and box right
    assert result["mirror"].result().localisation_error is None


def test_bf16_evaluates_in_bfloat16_and_scores_in_float32() -> None:
    loader, rules = FakeLoader(IMAGES, in_batches(IMAGES, 4), side=STORED), recipe()
    full, half = (
        evaluate(net(BOXED), loader, pixels(rules), ["centre"], CPU, precision)["centre"].log_losses
        for precision in ("fp32", "bf16")
    )
    assert not np.array_equal(full, half)
    # bfloat16 has 8 bits of mantissa, so a relative error of 4e-3 a product
    assert np.allclose(full, half, rtol=0.05)


def test_tf32_evaluates_in_float32_tensors() -> None:
    loader = FakeLoader(IMAGES, in_batches(IMAGES, 4), side=STORED)
    model, seen = net(), list[torch.dtype]()
    model.get_submodule("conv1").register_forward_hook(
        lambda module, given, out: seen.append(out.dtype)
    )
    evaluate(model, loader, pixels(recipe()), ["centre"], CPU, "tf32")
    assert set(seen) == {torch.float32}
