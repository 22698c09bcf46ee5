"""Image sets are recognised by what is in them: numbers for ILSVRC, and checked files for CIFAR-10."""

from __future__ import annotations

from dataclasses import replace

from harness.report.claims import claims_of
from harness.report.image_sets import image_obstacle
from harness.spec import CIFAR_10_ORIGINAL, DataSpec
from variants.catalog import CATALOG

CIFAR = DataSpec(
    name="mine",
    listing="ab" * 32,
    classes=10,
    train_images=50_000,
    val_images=10_000,
    store_size=32,
    contents=CIFAR_10_ORIGINAL,
)
ILSVRC = replace(CIFAR, classes=1000, train_images=1_281_167, store_size=256, contents="")


def test_ilsvrc_needs_its_numbers_of_classes_and_images() -> None:
    assert image_obstacle("ILSVRC-2012 val", replace(ILSVRC, val_images=50_000)) is None
    assert image_obstacle("ILSVRC-2012 val", ILSVRC) == "published on ILSVRC-2012 val, run on mine"
    assert image_obstacle("ILSVRC-2010 test", replace(ILSVRC, val_images=50_000)) is not None


def test_cifar_10_is_recognised_by_its_files_sums_and_not_by_its_numbers_alone() -> None:
    assert image_obstacle("CIFAR-10 test", CIFAR) is None
    copied = replace(CIFAR, contents="CIFAR-10, JPEG re-encoded")
    assert image_obstacle("CIFAR-10 test", copied) == (
        "published on CIFAR-10, the original batches, run on CIFAR-10, JPEG re-encoded"
    )
    assert "run on mine" in str(image_obstacle("CIFAR-10 test", replace(CIFAR, contents="")))
    assert "stored as JPEG" in str(image_obstacle("CIFAR-10 test", replace(CIFAR, store_format="jpeg")))
    assert image_obstacle("CIFAR-10 test", replace(CIFAR, train_images=49_999)) is not None


def test_every_row_published_on_cifar_10_names_the_image_set_that_is_recognised() -> None:
    found = {
        claim.data for row in CATALOG.values() if row.family == "cifar" for claim in claims_of(row)
    }
    assert found == {"CIFAR-10 test"}
