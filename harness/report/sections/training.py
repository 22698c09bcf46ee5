"""The section on training: curves of loss and validation error, and the first layer's kernels after
training.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.records.store import RunRecord
from harness.records.tables import curves_table
from harness.report import figures
from harness.report.columns import FROM_EPOCHS, columns_of, has_colours
from harness.report.data import ReportData, in_setting
from harness.report.model import Block, Figure, Section
from harness.report.setting import Setting

MOST_CURVES = 10  # variants: more lines can't be distinguished
MOST_KERNELS = 6  # half a page


def section(report: ReportData) -> Section:
    """Two figures per setting."""
    settings, blocks = report.evidence.settings, list[Block]()
    for place, setting in enumerate(settings, 1):
        blocks += in_setting(settings, place, [_curves(setting, place), *_kernels(setting, place)])
    return Section(title="Training", blocks=tuple(blocks))


def _curves(setting: Setting, place: int) -> Figure:
    course, protocol = curves_table(_shown(setting)), setting.main_protocol
    course = course.assign(
        images_thousand=course["images_seen"] / 1000, error_percent=100 * course["top1_error"]
    )
    return Figure(
        file=f"curves-{place}.svg",
        caption="Left: training log loss, with augmentation and dropout. Right: top-1 error on the "
        f"validation images, {protocol}. Each line is the mean over a variant's seeds, and the band "
        f"around it goes from the lowest to the highest seed{_of(setting, MOST_CURVES)}.",
        alt="Training log loss and validation error over the number of images seen, a line per "
        "variant.",
        content=figures.curves(
            course[course["curve"] == "training"], course[course["curve"] == protocol]
        ),
    )


def _shown(setting: Setting) -> Iterator[RunRecord]:
    for name in setting.first(MOST_CURVES):
        yield from setting.runs[name].values()


def _of(setting: Setting, most: int) -> str:
    """The end of a caption if the plot shows only some of the variants."""
    return f"; {most} of {len(setting.runs)} variants" if len(setting.runs) > most else ""


def _kernels(setting: Setting, place: int) -> tuple[Figure, ...]:
    if setting.key.epochs < FROM_EPOCHS:
        return ()
    first = {name: next(iter(setting.runs[name].values())) for name in setting.first(MOST_KERNELS)}
    kernels = {
        name: held for name, record in first.items() if has_colours(held := record.array("conv1"))
    }
    if not kernels:
        return ()
    figure = Figure(
        file=f"kernels-{place}.png",
        caption="Kernels of conv1 after training, lowest seed, each scaled to its own range. A net in "
        "two columns is shown column by column, as in the paper's "
        "figure 3" + _of(setting, MOST_KERNELS) + ".",
        alt="Tiles of the first layer's kernels for " + ", ".join(kernels),
        content=figures.filters(
            kernels,
            {name: columns_of(record.spec.net) for name, record in first.items()},
        ),
    )
    return (figure,)
