"""The training loss: cross entropy, with three kinds of "label smoothing", and smooth L1 for the box
head.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from harness.errors import UsageError
from variants.modules.network import Network
from variants.recipes.recipe import Loss, Recipe

LossFunction: TypeAlias = Callable[
    [Network, torch.Tensor, torch.Tensor, torch.Tensor | None, Loss], tuple[torch.Tensor, torch.Tensor]
]
# torch's compiler would first build and load a test program for the processor's vector instructions,
# 5 to 7 s on each machine; the compilers that can build torch's headers have them
COMPILE_OPTIONS: dict[str, Any] = {"cpp.vec_isa_ok": True}
COMPILERS = ("g++", "clang++", "c++")  # torch.compile uses one of them on the CPU


def maybe_compiled(recipe: Recipe) -> LossFunction:
    """`training_loss`, compiled by torch if the recipe says so: forward pass, loss and backward pass.

    It compiles when it is called first, and once more for a smaller last batch. Dropout then draws
    other numbers from torch's generator than without.
    """
    if not recipe.compile:
        return training_loss
    compiled: LossFunction = torch.compile(training_loss, options=COMPILE_OPTIONS)
    return compiled


def check_compiler(recipe: Recipe, device: torch.device) -> None:
    """Raise UsageError if the recipe compiles, and nothing here can compile for the device."""
    if recipe.compile and device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise UsageError("compile=true needs a C++ compiler; install g++, or use --set compile=false")


def training_loss(
    model: Network, images: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor | None, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits, loss) of one forward pass. images: (N, 3, S, S). With boxes (N, 4) the box head's loss
    is added.

    Losses are computed in float32, whatever the precision of the forward pass.
    """
    if boxes is None:
        logits = model(images).float()
        return logits, classification_loss(logits, labels, loss)
    scores, found = model.forward_with_box(images)
    logits = scores.float()
    return logits, classification_loss(logits, labels, loss) + loss.box_weight * box_loss(
        found.float(), boxes
    )


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Mean log loss over the batch. logits: (N, classes); labels: int64 (N,).

    The article's sentence on smoothing has three interpretations (claim 55). "uniform" spreads
    `smoothing` over all classes (the usual meaning). "target_drop" sets the target of a random fraction
    of the images to zero (the literal meaning). "scaled_one_hot" uses 1 - smoothing for the label and 0
    for the other classes.
    """
    if loss.smoothing == 0.0:
        return F.cross_entropy(logits, labels)
    if loss.reading == "uniform":
        return F.cross_entropy(logits, labels, label_smoothing=loss.smoothing)
    if loss.reading == "scaled_one_hot":
        return (1.0 - loss.smoothing) * F.cross_entropy(logits, labels)
    kept = torch.rand(len(labels), device=logits.device) >= loss.smoothing
    return (F.cross_entropy(logits, labels, reduction="none") * kept).mean()


def box_loss(predicted: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Smooth L1, mean over the batch and the 4 numbers.

    Both (N, 4): x, y, width, height as fractions of the image.
    """
    return F.smooth_l1_loss(predicted, boxes)


def intersection_over_union(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU of N pairs of boxes, each (N, 4) as x, y (top left), width, height; 0 where a box has no
    area.
    """
    low = torch.maximum(a[:, :2], b[:, :2])
    high = torch.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    union = a[:, 2:].clamp(min=0).prod(dim=1) + b[:, 2:].clamp(min=0).prod(dim=1) - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(union))
