"""The image sets that results were published on, and how a prepared data set is recognised as one of them.

Data sets are recognised by what is in them, never by their name. Every set needs its numbers of classes and images.
CIFAR-10 needs the digest of its pixels and labels besides, since copies of it encoded as JPEG have the same numbers.
ILSVRC has no digest that could be compared: people store it resized and encoded again, and the 2012 code did so, too.
"""

from __future__ import annotations

from harness.spec import DataSpec
from variants.values import value

# DataSpec.listing of the original CIFAR-10: sha256 over pixels and labels of both splits. It cannot be computed from
# the published MD5s, which are of the pickled files. None: not measured yet. A machine that has CIFAR-10 prints it by
#     python -c "from harness.data.prepare.job import prepare; print(prepare('cifar10', store_size=32).spec.listing)"
CIFAR_10_LISTING: str | None = None


@value
class ImageSet:
    """Numbers of classes and images. pixels: whether the pixels are compared, too; listing: their digest if known."""

    classes: int
    train_images: int
    val_images: int
    pixels: bool = False
    listing: str | None = None


IMAGE_SETS = {
    "ILSVRC-2012 val": ImageSet(classes=1000, train_images=1_281_167, val_images=50_000),
    "ILSVRC-2010 test": ImageSet(classes=1000, train_images=1_261_406, val_images=150_000),
    "CIFAR-10 test": ImageSet(
        classes=10, train_images=50_000, val_images=10_000, pixels=True, listing=CIFAR_10_LISTING
    ),
}

CHECKED = (
    "ILSVRC is recognised by its numbers of classes, training and validation images alone. The pixels are not "
    "compared, so a copy that was resized or encoded as JPEG again counts as ILSVRC. CIFAR-10 is recognised by the "
    "numbers and by a digest of its pixels and labels, so a copy encoded as JPEG does not count."
)


def image_obstacle(published: str, data: DataSpec) -> str | None:
    """Why runs on `data` can't decide a claim about the images `published`, as a clause; None where they can."""
    known = IMAGE_SETS.get(published)
    counts = (data.classes, data.train_images, data.val_images)
    if known is None or counts != (known.classes, known.train_images, known.val_images):
        return f"published on {published}, run on {data.name}"
    return _pixel_obstacle(known, published.removesuffix(" test"), data) if known.pixels else None


def _pixel_obstacle(known: ImageSet, name: str, data: DataSpec) -> str | None:
    if known.listing is None:
        return f"the images can't be recognised as the original {name}"
    if data.listing != known.listing:
        return f"published on the original {name}, run on images with other pixels or labels (a JPEG copy, say)"
    if data.store_format == "jpeg":
        return f"published on the original {name}, run on images stored as JPEG"
    return None
