"""The section on methods: the images, the meaning of the numbers, the rule for verdicts."""

from __future__ import annotations

from collections.abc import Mapping

from harness.report.data import ReportData
from harness.report.image_sets import CHECKED
from harness.report.model import Bullets, Section
from harness.report.setting import Setting

NOT_IMAGENET = (
    "Errors on these images are not ImageNet's. They can't be compared with the paper's 40.7 and 18.2 "
    "%. The paper's networks chose among 1,000 classes and learned from 1.2 million photographs. "
    "Guessing is 99.9 % wrong with 1,000 classes and 90 % wrong with ten. With ten classes, a top-5 "
    "answer names half of all classes, so top-5 error is nearly always small and says little."
)
MINI = (
    "The mini geometry keeps every design choice (columns, response normalisation, overlapping pools, "
    "dropout, three dense layers). Its input has 32x32 pixels and its layers have a quarter of the "
    "kernels. A choice may have another effect at full size, so no claim is decided on it."
)
ALWAYS = (
    "Error: the fraction of all validation images with a wrong answer; each image counts once. A top-5 "
    "answer is right if the label is among the five most probable classes. Protocols differ in the "
    "crops that they evaluate. A table never mixes protocols.",
    "Settings: runs are compared only if they share images, geometry, device and the contents of the "
    "recipe. Changes of the recipe that belong to the variant itself are not counted as a difference. "
    "Any other change, such as another learning rate, makes another setting.",
    "Differences: the error of a variant minus the error of the base, between runs of the same seed "
    "(the same order of images and the same crops). The base is grouped_2gpu if it ran, else the first "
    "variant that another is published against, else the first. The interval over seeds is Student's t "
    "interval (95 %) of these differences. It covers chance in training, on these images. It is wide "
    "with two or three seeds.",
    "The interval over images takes each image once, with its mean difference over seeds. It covers "
    "the choice of images, for these networks. For one seed it is McNemar's comparison of two "
    "classifiers. A direction is reported only if both intervals exclude 0. One in twenty intervals "
    "misses the true value by chance.",
    "No better than chance: a network whose Wilson interval includes the error of guessing. Nothing is "
    "concluded from it.",
    "Significantly different: Dunnett's test over seeds gives p < 0.05, corrected for the number of "
    "variants, with one pooled standard deviation, and the interval over images excludes 0. The "
    "intervals in the tables are not corrected.",
    "Verdicts: a band surrounds each published difference. It extends by half of the difference on "
    "each side, and by half a point at most. Reproduced: the whole interval over seeds lies in the "
    "band. Contradicted: the whole interval lies outside the band and outside the 95 % interval of the "
    "published value. Inconclusive: neither. A verdict is also inconclusive with one seed, on other "
    "images, at another size, under another protocol or after less training than the claim's. Not run: "
    "no seed has both networks. For the error of one network: nothing ran on its images at full size.",
    CHECKED,
    "Published differences come from one run per side, so they contain chance, too. Ten runs of the "
    "paper's network in the 2012 log have a standard deviation of 0.31 points of top-1 error and 0.33 "
    "of top-5 error. Their schedules differ, so this is an upper bound. The same is assumed for other "
    "networks. A published difference is then known to ± 1.0 points (Student's t with 9 degrees of "
    "freedom, 95 %). If the interval lies outside the band but within that, the table says that the "
    "size differs, and the verdict is inconclusive.",
    "Images per second: the median over windows of training steps after the warm-up, without "
    "evaluation and set-up. Waiting for data: the fraction of training time in which the step waited "
    "for the loader. Training is limited by the loader above a half, and by computing below a tenth.",
    "GPU utilisation is NVML's: the fraction of a past window (a sixth of a second to one second) in "
    "which at least one kernel ran. It does not say how much of the GPU was used: one small kernel at "
    "a time reads as 100 %. CPU utilisation: CPU seconds of the process per second; 200 % is two full "
    "cores. Energy: the difference of the GPU's own counter.",
    "A dash: not measured; the record has the reason. Records that came with the clone are a reference "
    "and are never pooled with yours. Failed and interrupted runs are listed and are in no number.",
)


def section(report: ReportData) -> Section:
    """First the images and nets of this report, then what is the same in every report."""
    keys = [setting.key for setting in report.evidence.settings]
    images = _descriptions(report.evidence.settings, report.descriptions)
    small = any(key.data.classes < 1000 for key in keys)
    mini = any(key.geometry == "mini" for key in keys)
    items = (*images, *((NOT_IMAGENET,) if small else ()), *((MINI,) if mini else ()), *ALWAYS)
    return Section(title="Methods", blocks=(Bullets(items=items),))


def _descriptions(settings: tuple[Setting, ...], known: Mapping[str, str]) -> tuple[str, ...]:
    """One sentence per data set, with the numbers that were used."""
    sets = {setting.key.data.name: setting.key.data for setting in settings}
    return tuple(
        f"{name}: {f'{known[name]}. ' if name in known else ''}Used here: {data.train_images:,} "
        f"training and {data.val_images:,} validation images in {data.classes:,} classes."
        for name, data in sets.items()
    )
