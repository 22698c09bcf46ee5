"""Contact sheets: images in rows with a few words below each, as PNG."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.report.figures import WIDTH_IN, as_png, plot_style
from harness.report.hard_images import ImageGroup, Sheet

ACROSS = 8
GAP_IN, LINE_IN, WORDS_IN = 0.06, 0.15, 0.34  # WORDS_IN: three lines below an image
SIDE_IN = (WIDTH_IN - GAP_IN) / ACROSS - GAP_IN
MOST_LETTERS = 15  # of a class name below an image
MOST_LETTERS_OF_A_LINE = 122


def contact_sheet(
    sheet: Sheet, images: Mapping[int, tuple[NDArray[np.uint8], int]], classes: tuple[str, ...]
) -> bytes:
    """images: uint8 (R, R, 3) and label, by index. classes: names by label."""
    heading = textwrap.wrap(sheet.title, MOST_LETTERS_OF_A_LINE)
    lines = [*heading, *textwrap.wrap(sheet.explanation, MOST_LETTERS_OF_A_LINE)]
    height_in = GAP_IN + LINE_IN * len(lines) + sum(map(_height_in, sheet.groups))
    with plot_style():
        page = _Page(height_in)
        for place, line in enumerate(lines):
            weight = "bold" if place < len(heading) else "normal"
            page.write(line, GAP_IN, GAP_IN + place * LINE_IN, fontsize=7, weight=weight)
        top_in = GAP_IN + LINE_IN * len(lines)
        for group in sheet.groups:
            page.group(group, top_in, images, classes)
            top_in += _height_in(group)
        return as_png(page.figure)


def _height_in(group: ImageGroup) -> float:
    rows = -(-len(group.images) // ACROSS)
    return 2 * LINE_IN + GAP_IN + rows * (SIDE_IN + WORDS_IN + GAP_IN)


class _Page:
    """A figure on which places are in inches from the left and from the top."""

    def __init__(self, height_in: float) -> None:
        self.height_in = height_in
        self.figure = Figure(figsize=(WIDTH_IN, height_in))

    def write(self, text: str, left_in: float, top_in: float, **options: Any) -> None:
        x, y = left_in / WIDTH_IN, 1 - top_in / self.height_in
        # a class may have a dollar sign in its name
        self.figure.text(x, y, text, va="top", parse_math=False, **options)

    def picture(self, pixels: NDArray[np.uint8], left_in: float, top_in: float) -> None:
        bottom = 1 - (top_in + SIDE_IN) / self.height_in
        side = (SIDE_IN / WIDTH_IN, SIDE_IN / self.height_in)
        ax = self.figure.add_axes((left_in / WIDTH_IN, bottom, *side))
        ax.set_axis_off()
        ax.imshow(pixels)

    def group(
        self,
        group: ImageGroup,
        top_in: float,
        images: Mapping[int, tuple[NDArray[np.uint8], int]],
        classes: tuple[str, ...],
    ) -> None:
        self.write(group.title, GAP_IN, top_in + LINE_IN, fontsize=8)
        for place, (index, seeds) in enumerate(group.images):
            row, column = divmod(place, ACROSS)
            left_in = GAP_IN + column * (SIDE_IN + GAP_IN)
            image_in = top_in + 2 * LINE_IN + GAP_IN + row * (SIDE_IN + WORDS_IN + GAP_IN)
            pixels, label = images[index]
            name = classes[label]
            short = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
            self.picture(pixels, left_in, image_in)
            self.write(
                f"{short}\n{seeds}\nindex {index}", left_in, image_in + SIDE_IN + 0.02, fontsize=6
            )
