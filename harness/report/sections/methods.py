"""The methods in plain words: what the images are, what the numbers mean, how a verdict comes about."""

from __future__ import annotations

from harness.report.image_sets import CHECKED
from harness.report.material import Material
from harness.report.model import Bullets, Section

IMAGES = {
    "fashion_mnist": "fashion_mnist is 70,000 small grey pictures of garments in ten classes (60,000 to train on, "
    "10,000 to test on), shown to the nets as three equal colour channels. It is small enough for any machine to "
    "train on in minutes.",
    "cifar10": "cifar10 is 60,000 colour pictures of 32x32 pixels in ten classes, 50,000 to train on and 10,000 to "
    f"test on. {CHECKED}",
    "synthetic": "synthetic is drawn by a seeded generator: it exercises the machinery and says nothing about "
    "photographs.",
    "imagenet": f"imagenet is whatever folder was named so. {CHECKED}",
}
NOT_IMAGENET = (
    "Errors on these images are not ImageNet's and can't be set beside the paper's 40.7 and 18.2 %. The paper chose "
    "among 1,000 classes of photographs with 1.2 million to learn from; chance alone is 99.9 % wrong there, 90 % "
    "with ten classes. With ten classes top-5 error is the error of choosing half of all classes: nearly always "
    "small, so it tells little."
)
MINI = (
    "The mini geometry keeps every design choice (columns, response normalisation, overlapping pools, dropout, three "
    "dense layers) on an input of 32x32 pixels with a quarter of the kernels. What a choice does there need not be "
    "what it does at full size, so no claim is decided on it."
)
ALWAYS = (
    "Errors are counted over all validation images, each exactly once. Top-5 counts an answer as right if the label "
    "is among the five likeliest classes. Protocols differ in the crops they look at, and are never mixed in a table.",
    "Differences are taken between runs of the same seed (same order of images, same crops) of a variant and of the "
    "base: grouped_2gpu where it ran, else the first variant that another is published against, else the first. What "
    "a seed gives to both cancels. The interval over seeds is Student's t at 95 % over these differences: it covers "
    "chance in training, on these very images. With two or three seeds it is wide, because so few say little.",
    "The interval over images takes each image once, with its mean difference over seeds: it covers the choice of "
    "images, for these very networks. For one seed it is McNemar's comparison of two classifiers. A direction counts "
    "as seen only where both intervals exclude 0. With many variants in a table, one in twenty intervals misses by "
    "chance alone.",
    "A network whose Wilson interval reaches the error of guessing is called no better than chance: it has not "
    "learnt in the time it had, and nothing is concluded from it.",
    "Significantly different, at the top of the report, means: Dunnett's test over seeds gives p < 0.05 after "
    "correction for the number of variants compared, with one spread for all of them, and the interval over images "
    "excludes 0. The single intervals in the tables are not corrected: of twenty, one is expected to exclude 0 by "
    "chance.",
    "Verdicts: around a published difference lies a band of half its size, half a point at most. Reproduced: the whole "
    "interval over seeds lies in it. Contradicted: the whole interval lies outside the band and outside the published "
    "value's own 95 % interval. Inconclusive: neither; and "
    "always with one seed, on other images, at another size, under another protocol or with less training than the "
    "claim had. Not run: no seed has both nets, or, for an error "
    "itself, nothing ran on its images at full size.",
    "Published differences are of one run a side, so chance is in them, too. Ten runs of the paper's network in the "
    "2012 log have a standard deviation of 0.31 points of top-1 error and 0.33 of top-5 error. Their schedules "
    "differ, so this is an upper bound; for other networks no such series is known, and the same is assumed. A "
    "published difference is then known to ± 1.0 points (Student's t with 9 degrees of freedom, 95 %). Outside the "
    "band but within that, the table says that the size differs, and the verdict is inconclusive.",
    "Images per second is the median over windows of training steps after the warm-up; evaluation and set-up don't "
    "count. Waiting for data is the share of training time in which the step stood still for the loader: above half, "
    "the loader holds training up; below a tenth, computing does.",
    "GPU utilisation, as NVML tells it, is the share of a past window (a sixth of a second to one second) in which "
    "at least one kernel ran. It is not how much of the GPU was busy: one small kernel at a time reads as 100 %. CPU "
    "utilisation is CPU seconds of the process per second; 200 % is two full cores. Energy is the difference of the "
    "GPU's own counter.",
    "A dash stands for what was not measured; the reason is in the record. Records that came with the clone are a "
    "reference: they are never pooled with yours. Failed and interrupted runs are listed and enter no number.",
)


def section(given: Material) -> Section:
    """First what these images and nets are, then what holds for every report."""
    keys = [setting.key for setting in given.evidence.settings]
    images = [IMAGES[name] for name in dict.fromkeys(key.data.name for key in keys) if name in IMAGES]
    small = any(key.data.classes < 1000 for key in keys)
    mini = any(key.geometry == "mini" for key in keys)
    items = (*images, *((NOT_IMAGENET,) if small else ()), *((MINI,) if mini else ()), *ALWAYS)
    return Section(title="Methods", blocks=(Bullets(items=items),))
