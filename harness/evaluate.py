"""Evaluates a network under several protocols in one pass.

Views are averaged after the softmax, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.augment.transforms import CENTRE_OF_TEN, MIRROR_OF_TEN, ImageTransform, ViewProtocol
from harness.data.base import Batch, Loader
from harness.data.names import Split
from harness.distributed.ranks import ALONE, Ranks
from harness.errors import RunFailed
from harness.events import Evaluated
from harness.loss import intersection_over_union
from harness.precision import autocast
from harness.records.schema import MOST_CLASSES, Analysis, Bin, ProtocolResult
from variants.modules.network import Network
from variants.recipes.recipe import Precision

Bits = NDArray[np.bool_]
HIT_IOU = 0.5
CALIBRATION_BINS = 15
# protocols with a localisation error; the box is always the centre view's
BOXED = ("centre", "ten_view")


@dataclass
class ImageResults:
    """One protocol's results per image: whether the label is in the top 1 and top 5, and -log p of the
    label.

    Arrays are (images,) in the order of the split. seen: how often each image was evaluated; it must be
    once.
    confusion: (classes, classes), images by label and most probable class. calibration:
    (CALIBRATION_BINS, 3), by the probability of the most probable class: number of images, sum of that
    probability, number of right answers.
    """

    top1: Bits
    top5: Bits
    log_losses: NDArray[np.float64]
    seen: NDArray[np.int64]
    confusion: NDArray[np.int64]
    calibration: NDArray[np.float64]
    box_hits: Bits | None = None

    def result(self) -> ProtocolResult:
        located = None if self.box_hits is None else float(np.mean(~(self.box_hits & self.top1)))
        return ProtocolResult(
            top1_error=float(np.mean(~self.top1)),
            top5_error=float(np.mean(~self.top5)),
            loss=float(self.log_losses.mean()),
            images=len(self.top1),
            localisation_error=located,
        )


@torch.inference_mode()
def evaluate(
    model: Network,
    loader: Loader,
    pixels: ImageTransform,
    protocols: Sequence[ViewProtocol],
    device: torch.device,
    precision: Precision,
    *,
    boxed: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    ranks: Ranks = ALONE,
) -> dict[str, ImageResults]:
    """Every image of `loader` (whole stored squares) exactly once under each protocol. Raises RunFailed
    otherwise.

    If the ten views are computed, "centre" and "mirror" use two of them. With `boxed` the box predicted
    for the centre view is scored, too; this needs a network with a box head and a loader with boxes.
    Forward passes run in the recipe's precision, as training does; softmax and scores are float32. With
    several ranks, each evaluates its slices, or with its tower; all return the results of all images.
    """
    model.eval()
    found: dict[str, ImageResults] = {
        name: _empty(loader.images, model.spec.classes, boxed and name in BOXED) for name in protocols
    }
    done = 0
    with loader.epoch(0) as batches:
        for batch in (batch for batch in batches if len(batch.labels)):
            with autocast(precision, device):
                outputs = _outputs(model, batch.images.to(device), pixels, protocols)
            for name, (probabilities, boxes) in outputs.items():
                if probabilities.numel() == 0:  # of the second tower, which has no scores
                    continue
                _score(found[name], batch, probabilities.cpu())
                if found[name].box_hits is not None and boxes is not None and batch.boxes is not None:
                    _score_boxes(
                        found[name], batch, boxes.cpu(), pixels.centre_boxes(batch.boxes).cpu()
                    )
            done += len(batch.labels)
            progress(done, loader.images)
    found = {name: _of_all_ranks(results, ranks) for name, results in found.items()}
    for name, results in found.items():
        _refuse_gaps(name, results)
    return found


def evaluated(
    results: ImageResults,
    protocol: str,
    step: int,
    epoch: float,
    elapsed_s: float,
    *,
    final: bool = False,
    split: Split = "val",
) -> Evaluated:
    """The event for `results`. elapsed_s: seconds of the pass, which is common to all its protocols."""
    return Evaluated(
        step=step,
        epoch=epoch,
        protocol=protocol,
        final=final,
        split=split,
        elapsed_s=elapsed_s,
        **asdict(results.result()),
    )


def analysis(protocol: str, results: ImageResults, classes: Sequence[str]) -> Analysis:
    """The answers by class and by confidence, for the record."""
    few = len(classes) <= MOST_CLASSES
    return Analysis(
        protocol=protocol,
        classes=tuple(classes),
        confusion=tuple(tuple(row) for row in results.confusion.tolist()) if few else None,
        calibration=tuple(
            Bin(images=int(n), confidence=total / n if n else None, right=right / n if n else None)
            for n, total, right in results.calibration.tolist()
        ),
    )


def _refuse_gaps(name: str, results: ImageResults) -> None:
    images = len(results.seen)
    if wrong := int((results.seen != 1).sum()):
        raise RunFailed(f"{name}: {wrong} of {images} images were not seen exactly once")
    if strange := int((~np.isfinite(results.log_losses)).sum()):
        raise RunFailed(
            f"{name}: the network gives no finite scores for {strange} of {images} images; its weights "
            "have overflowed"
        )


def _empty(images: int, classes: int, boxed: bool) -> ImageResults:
    zeros = np.zeros(images, dtype=np.bool_)
    return ImageResults(
        top1=zeros.copy(),
        top5=zeros.copy(),
        log_losses=np.zeros(images),
        seen=np.zeros(images, dtype=np.int64),
        confusion=np.zeros((classes, classes), dtype=np.int64),
        calibration=np.zeros((CALIBRATION_BINS, 3)),
        box_hits=zeros.copy() if boxed else None,
    )


def _of_all_ranks(results: ImageResults, ranks: Ranks) -> ImageResults:
    """Each rank has set or counted what its own images give; the rest is 0."""
    mine = {each.name: getattr(results, each.name) for each in fields(results)}
    all_: dict[str, Any] = {
        name: None if array is None else ranks.sum_array(array) for name, array in mine.items()
    }
    return ImageResults(**all_)


Outputs = tuple[torch.Tensor, torch.Tensor | None]


def _outputs(
    model: Network, squares: torch.Tensor, pixels: ImageTransform, protocols: Sequence[ViewProtocol]
) -> dict[str, Outputs]:
    """Mean softmax over the views of each protocol, (N, classes), and the centre view's box."""
    made: dict[str, Outputs] = {}
    if "ten_view" in protocols:
        ten, boxes = _forward(model, pixels.views(squares, "ten_view"))
        slices = {
            "ten_view": slice(None),
            "centre": slice(CENTRE_OF_TEN, 5),
            "mirror": slice(MIRROR_OF_TEN, 10),
        }
        for name in protocols:
            if name in slices:
                made[name] = (
                    ten[:, slices[name]].mean(1),
                    None if boxes is None else boxes[:, CENTRE_OF_TEN],
                )
    for name in protocols:
        if name not in made:
            probabilities, boxes = _forward(model, pixels.views(squares, name))
            made[name] = (probabilities.mean(1), None if boxes is None else boxes[:, 0])
    return made


def _forward(model: Network, views: Iterable[torch.Tensor]) -> Outputs:
    """V views of (N, 3, S, S), one after the other -> softmax (N, V, classes) and boxes (N, V, 4) or
    None.
    """
    probabilities, boxes = list[torch.Tensor](), list[torch.Tensor]()
    for view in views:
        images = view.contiguous(memory_format=torch.channels_last)
        logits, box = (
            model.forward_with_box(images) if model.spec.box is not None else (model(images), None)
        )
        probabilities.append(logits.float().softmax(1))
        boxes += [] if box is None else [box.float()]
    return torch.stack(probabilities, dim=1), torch.stack(boxes, dim=1) if boxes else None


def _score(into: ImageResults, batch: Batch, probabilities: torch.Tensor) -> None:
    index, labels = batch.indices.numpy(), batch.labels
    highest = probabilities.topk(min(5, probabilities.shape[1]), dim=1)
    right = highest.indices == labels[:, None]
    # `seen[index] += 1` counts an image that comes twice in a batch once
    np.add.at(into.seen, index, 1)
    into.top1[index] = right[:, 0].numpy()
    into.top5[index] = right.any(dim=1).numpy()
    into.log_losses[index] = (
        -probabilities.gather(1, labels[:, None])[:, 0].double().clamp(min=1e-45).log().numpy()
    )
    answers, confidence = (
        highest.indices[:, 0],
        highest.values[:, 0].double().nan_to_num(0.0).clamp(0.0, 1.0),
    )
    _count_answers(into, labels.numpy(), answers.numpy(), confidence.numpy())


def _count_answers(
    into: ImageResults,
    labels: NDArray[np.int64],
    answers: NDArray[np.int64],
    confidence: NDArray[np.float64],
) -> None:
    np.add.at(into.confusion, (labels, answers), 1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    np.add.at(
        into.calibration, bins, np.stack([np.ones(len(bins)), confidence, labels == answers], axis=1)
    )


def _score_boxes(
    into: ImageResults, batch: Batch, predicted: torch.Tensor, boxes: torch.Tensor
) -> None:
    assert into.box_hits is not None
    into.box_hits[batch.indices.numpy()] = (
        intersection_over_union(predicted, boxes) >= HIT_IOU
    ).numpy()


def first_kernels(model: Network) -> np.ndarray:
    """conv1's kernels for the report's figure, float16 (kernels, channels, height, width)."""
    name = next(row.layer.name for row in model.spec.rows if row.layer.kind == "conv")
    weight = model.state_dict().get(f"{name}.weight")
    return (
        np.zeros((0, 3, 1, 1), np.float16) if weight is None else weight.detach().cpu().half().numpy()
    )
