"""The image sets of published results, and how a prepared data set is recognised as one of them.

Data sets are recognised by their contents, not by their name. The numbers of classes and images must be
right. CIFAR-10 must also have been read from the original files (torchvision checks their published MD5
sums), since copies encoded as JPEG have the same numbers. ILSVRC has no digest that could be compared:
it is usually stored resized and encoded again, also by the 2012 code.
"""

from __future__ import annotations

from dataclasses import replace

from harness.spec import CIFAR_10_JPEG, CIFAR_10_ORIGINAL, DataSpec
from variants.values import value


@value
class ImageSet:
    """Numbers of classes and images. contents: what DataSpec.contents must say besides, if anything."""

    classes: int
    train_images: int
    val_images: int
    contents: str | None = None


IMAGE_SETS = {
    "ILSVRC-2012 val": ImageSet(classes=1000, train_images=1_281_167, val_images=50_000),
    "ILSVRC-2010 test": ImageSet(classes=1000, train_images=1_261_406, val_images=150_000),
    "CIFAR-10 test": ImageSet(
        classes=10, train_images=50_000, val_images=10_000, contents=CIFAR_10_ORIGINAL
    ),
}

CHECKED = (
    "ILSVRC is recognised by its numbers of classes, training and validation images alone. The pixels "
    "are not compared, so a copy that was resized or encoded as JPEG again counts as ILSVRC. CIFAR-10 "
    "is recognised by the numbers and by the MD5 sums of its original files, so a copy encoded as JPEG "
    "does not count."
)


def image_obstacle(published: str, data: DataSpec) -> str | None:
    """Why runs on `data` can't decide a claim about the images `published`, as a clause; None if
    they can.
    """
    known = IMAGE_SETS.get(published)
    counts = (data.classes, data.train_images, data.val_images)
    if known is None or counts != (known.classes, known.train_images, known.val_images):
        return f"published on {published}, run on {data.name}"
    if known.contents is None:
        return None
    if data.contents != known.contents:
        return f"published on {known.contents}, run on {data.contents or data.name}"
    return (
        f"published on {known.contents}, run on them stored as JPEG"
        if data.store_format == "jpeg"
        else None
    )


def figure_1_obstacle(data: DataSpec) -> str | None:
    """Why runs on `data` can't decide figure 1's ratio.

    A JPEG copy can: both networks see the same images.
    """
    if data.contents == CIFAR_10_JPEG:
        data = replace(data, contents=CIFAR_10_ORIGINAL)
    return image_obstacle("CIFAR-10 test", data)
