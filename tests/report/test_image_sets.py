"""Image sets are recognised by what is in them: numbers for ILSVRC, numbers and pixels for CIFAR-10."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.report import image_sets
from harness.report.claims import claims_of
from harness.report.image_sets import IMAGE_SETS, image_obstacle
from harness.spec import DataSpec
from variants.catalog import CATALOG

CIFAR = DataSpec(name="mine", listing="ab" * 32, classes=10, train_images=50_000, val_images=10_000, store_size=32)
ILSVRC = replace(CIFAR, classes=1000, train_images=1_281_167, store_size=256)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the digest of the original CIFAR-10 were known."""
    known = replace(IMAGE_SETS["CIFAR-10 test"], listing="ab" * 32)
    monkeypatch.setitem(image_sets.IMAGE_SETS, "CIFAR-10 test", known)


def test_ilsvrc_needs_its_numbers_of_classes_and_images() -> None:
    assert image_obstacle("ILSVRC-2012 val", replace(ILSVRC, val_images=50_000)) is None
    assert image_obstacle("ILSVRC-2012 val", ILSVRC) == "published on ILSVRC-2012 val, run on mine"
    assert image_obstacle("ILSVRC-2010 test", replace(ILSVRC, val_images=50_000)) is not None


@pytest.mark.skipif(image_sets.CIFAR_10_LISTING is not None, reason="the digest of CIFAR-10 is known")
def test_without_a_known_digest_no_images_pass_for_cifar_10() -> None:
    assert image_obstacle("CIFAR-10 test", CIFAR) == "the images can't be recognised as the original CIFAR-10"


@pytest.mark.usefixtures("measured")
def test_cifar_10_is_recognised_by_its_pixels_and_not_by_its_numbers_alone() -> None:
    assert image_obstacle("CIFAR-10 test", CIFAR) is None
    assert "a JPEG copy" in str(image_obstacle("CIFAR-10 test", replace(CIFAR, listing="cd" * 32)))
    assert "stored as JPEG" in str(image_obstacle("CIFAR-10 test", replace(CIFAR, store_format="jpeg")))
    assert image_obstacle("CIFAR-10 test", replace(CIFAR, train_images=49_999)) is not None


def test_every_row_published_on_cifar_10_names_the_image_set_that_is_recognised() -> None:
    found = {claim.data for row in CATALOG.values() if row.family == "cifar" for claim in claims_of(row)}
    assert found == {"CIFAR-10 test"}
