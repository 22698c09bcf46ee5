"""Which validation images are shown as pictures: those that most seeds get wrong, and those on which
two variants disagree.

Records have no answers per image, only whether the class is the most probable one, and among the five
most probable. An answer is wrong if the class is not the most probable one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.report.setting import Setting
from harness.report.text import count

MOST_HARD = 40
MOST_DISAGREED = 16  # for each of the two directions


@dataclass(frozen=True)
class ImageGroup:
    """Some validation images, each as its index and the seeds in words, such as "5 of 5"."""

    title: str
    images: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Sheet:
    """What one contact sheet shows. file: its name. explanation: of the text below each image."""

    file: str
    title: str
    explanation: str
    groups: tuple[ImageGroup, ...]

    @property
    def indices(self) -> set[int]:
        return {index for group in self.groups for index, _ in group.images}


@dataclass(frozen=True)
class Wrong:
    """With how many of `seeds` each image is wrong: top1, top5 (images,), int64."""

    name: str
    seeds: int
    top1: NDArray[np.int64]
    top5: NDArray[np.int64]


def sheets(setting: Setting, place: int) -> list[Sheet]:
    """The images that are hard for the base, then a sheet for each other variant. place: the setting's
    number.

    Answers are those under the setting's main protocol. A sheet without images is left out.
    """
    others = [name for name in setting.runs if name != setting.base]
    made = [_hard(setting, place), *(_disagreement(setting, name, place) for name in others)]
    return [sheet for sheet in made if sheet.groups]


def _hard(setting: Setting, place: int) -> Sheet:
    base = _wrong(setting, setting.base, _seeds(setting, setting.base))
    return Sheet(
        file=_file(place, "hard", base.name),
        title=setting.key.label,
        explanation="Validation images that most seeds get wrong. Below each: its class, the number of "
        f"seeds that get it wrong ({setting.main_protocol}), and its index in the validation set. "
        "Among equal numbers, images whose class is not among the five most probable come first.",
        groups=_group(
            f"Wrong with {base.name}",
            base.top1,
            base.top5,
            base.seeds,
            MOST_HARD,
            lambda i: f"{base.top1[i]}",
        ),
    )


def _disagreement(setting: Setting, name: str, place: int) -> Sheet:
    seeds = _seeds(setting, name) & _seeds(setting, setting.base)
    variant, base = (_wrong(setting, each, seeds) for each in (name, setting.base))
    return Sheet(
        file=_file(place, "disagree", name),
        title=setting.key.label,
        explanation="Validation images that one variant gets wrong with more seeds than the other; the "
        "two numbers differ by more than half of the seeds. Below each: its class, the numbers of "
        f"seeds that get it wrong ({setting.main_protocol}) in the order of the heading, and its index "
        "in the validation set.",
        groups=(*_worse(variant, base), *_worse(base, variant)),
    )


def _worse(one: Wrong, other: Wrong) -> tuple[ImageGroup, ...]:
    return _group(
        f"More often wrong with {one.name} than with {other.name}",
        one.top1 - other.top1,
        one.top5 - other.top5,
        one.seeds,
        MOST_DISAGREED,
        lambda i: f"{one.top1[i]} and {other.top1[i]}",
    )


def _group(
    title: str,
    top1: NDArray[np.int64],
    top5: NDArray[np.int64],
    seeds: int,
    most: int,
    words: Callable[[int], str],
) -> tuple[ImageGroup, ...]:
    """The images with `top1` above half of the seeds, the highest first; then by top5, then by index.

    Nothing if there are none.
    """
    total = int((2 * top1 > seeds).sum())
    first = np.lexsort((-top5, -top1))[: min(total, most)].tolist()
    if not first:
        return ()
    all_ = f"{len(first)} of {count(total, 'image')}" if len(first) < total else count(total, "image")
    return (
        ImageGroup(
            title=f"{title}: {all_}",
            images=tuple((index, f"{words(index)} of {seeds}") for index in first),
        ),
    )


def _seeds(setting: Setting, name: str) -> set[int]:
    return set(setting.errors(name, setting.main_protocol, "top1_error"))


def _wrong(setting: Setting, name: str, seeds: Collection[int]) -> Wrong:
    runs = [setting.runs[name][seed] for seed in seeds]
    counts = np.zeros((2, setting.key.data.val_images), dtype=np.int64)
    for run in runs:
        counts += [~run.correct(setting.main_protocol, k) for k in (1, 5)]
    return Wrong(name=name, seeds=len(runs), top1=counts[0], top5=counts[1])


def _file(place: int, kind: str, name: str) -> str:
    return f"{place:02}-{kind}-{re.sub(r'[^A-Za-z0-9_]+', '_', name)}.png"
