"""Label smoothing's three readings (the article's claim 55), the box loss and IoU, against written-out formulas."""

from __future__ import annotations

import torch

from harness.loss import box_loss, classification_loss, intersection_over_union
from variants.recipes.recipe import Loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 3.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])
LOG_LOSSES = -LOGITS.log_softmax(1)


def test_no_smoothing_is_the_papers_multinomial_logistic_loss() -> None:
    expected = (LOG_LOSSES[0, 0] + LOG_LOSSES[1, 1]) / 2
    assert torch.allclose(classification_loss(LOGITS, LABELS, Loss()), expected, atol=1e-15)


def test_uniform_smoothing_spreads_a_tenth_over_all_classes() -> None:
    target = torch.full((2, 3), 0.1 / 3, dtype=torch.float64)
    target[0, 0] += 0.9
    target[1, 1] += 0.9
    expected = (target * LOG_LOSSES).sum(1).mean()
    assert torch.allclose(
        classification_loss(LOGITS, LABELS, Loss(smoothing=0.1)), expected, atol=1e-15
    )


def test_scaled_one_hot_is_nine_tenths_of_the_plain_loss() -> None:
    plain = classification_loss(LOGITS, LABELS, Loss())
    scaled = classification_loss(LOGITS, LABELS, Loss(smoothing=0.1, reading="scaled_one_hot"))
    assert torch.allclose(scaled, 0.9 * plain, atol=1e-15)


def test_target_drop_zeroes_the_target_of_a_tenth_of_the_images() -> None:
    torch.manual_seed(0)
    logits, labels = LOGITS[:1].repeat(20_000, 1), torch.zeros(20_000, dtype=torch.int64)
    dropped = classification_loss(logits, labels, Loss(smoothing=0.1, reading="target_drop"))
    fraction = 1 - dropped / LOG_LOSSES[0, 0]
    # a binomial fraction of 20,000 has a standard deviation of .0021; five of them
    assert abs(float(fraction) - 0.1) < 0.011


def test_iou_of_equal_disjoint_half_and_empty_boxes() -> None:
    a = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.4, 0.4], [0, 0, 1, 1], [0.2, 0.2, 0, 0]])
    b = torch.tensor([[0.0, 0, 1, 1], [0.5, 0.5, 0.4, 0.4], [0, 0, 0.5, 1], [0.2, 0.2, 0, 0]])
    assert intersection_over_union(a, b).tolist() == [1.0, 0.0, 0.5, 0.0]


def test_box_loss_is_half_the_squared_error_below_one() -> None:
    a, b = torch.zeros(1, 4), torch.full((1, 4), 0.5)
    assert box_loss(a, b).item() == 0.125
