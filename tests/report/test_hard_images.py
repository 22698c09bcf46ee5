"""Which images are shown as pictures, and the contact sheets that `report --pictures` writes."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from study_records import DATA, Study

from harness.cli.pictures import write_pictures
from harness.data.base import Prepared
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.errors import DataError, RecordError
from harness.records.record import RunRecord
from harness.report.build import evidence_of
from harness.report.contact_sheets import contact_sheet
from harness.report.hard_images import ImageGroup, Sheet, sheets
from harness.spec import DataSpec

BASE, OTHER = "grouped_2gpu", "no_lrn"


def right_but(wrong: Collection[int], images: int) -> NDArray[np.bool_]:
    return ~np.isin(np.arange(images), list(wrong))


def run(
    study: Study,
    variant: str,
    seed: int,
    wrong: Collection[int],
    far: Collection[int] = (),
    data: DataSpec = DATA,
) -> RunRecord:
    """A run that gets exactly these images wrong; the classes of `far` are not among the five most probable, either."""
    right = right_but(wrong, data.val_images), right_but(far, data.val_images)
    return study.run(study.spec(variant, seed, data=data), 0.1, right=right)


def chosen(records: list[RunRecord]) -> list[Sheet]:
    (setting,) = evidence_of("reproduce", records).settings
    return sheets(setting, 1)


def test_images_that_more_seeds_get_wrong_come_first(study: Study) -> None:
    wrong = ([900, 7, 5, 3], [900, 7, 5], [900, 7, 1999], [900, 8])
    (sheet,) = chosen([run(study, BASE, seed, some) for seed, some in enumerate(wrong)])
    (group,) = sheet.groups
    assert group.images == ((900, "4 of 4"), (7, "3 of 4"))  # two of four are not most
    assert group.title == f"Wrong with {BASE}: 2 images"


def test_equal_ones_are_ordered_by_the_top_5_and_then_by_index(study: Study) -> None:
    records = [run(study, BASE, seed, range(10, 90), far=(80, 70)) for seed in (0, 1)]
    (group,) = chosen(records)[0].groups
    assert [index for index, _ in group.images] == [70, 80, *range(10, 48)]
    assert group.title == f"Wrong with {BASE}: 40 of 80 images"


def test_two_variants_disagree_where_the_one_is_wrong_with_more_seeds(study: Study) -> None:
    records = [run(study, BASE, seed, (1, 2, 3)) for seed in (0, 1, 2)]
    records += [run(study, OTHER, seed, (3, 40, 41)) for seed in (0, 1)]
    records += [run(study, OTHER, 2, (1, 3, 41))]
    hard, disagreement = chosen(records)
    assert hard.indices == {1, 2, 3}
    assert disagreement.groups == (
        ImageGroup(f"More often wrong with {OTHER} than with {BASE}: 2 images",
                   ((41, "3 and 0 of 3"), (40, "2 and 0 of 3"))),
        ImageGroup(f"More often wrong with {BASE} than with {OTHER}: 2 images",
                   ((2, "3 and 0 of 3"), (1, "3 and 1 of 3"))),
    )  # fmt: skip


def test_only_seeds_that_both_variants_have_are_compared(study: Study) -> None:
    records = [run(study, BASE, seed, (1,)) for seed in (0, 1)] + [run(study, BASE, 2, ())]
    records += [run(study, OTHER, seed, (2,)) for seed in (0, 1)] + [run(study, OTHER, 3, ())]
    _, disagreement = chosen(records)
    assert [group.images for group in disagreement.groups] == [
        ((2, "2 and 0 of 2"),),
        ((1, "2 and 0 of 2"),),
    ]


def test_variants_that_agree_have_no_sheet(study: Study) -> None:
    records = [run(study, name, seed, (4,)) for name in (BASE, OTHER) for seed in (0, 1)]
    assert [sheet.file for sheet in chosen(records)] == [f"01-hard-{BASE}.png"]


def test_a_class_name_may_be_long_and_have_any_signs() -> None:
    sheet = Sheet("x.png", "a title " * 30, "words", (ImageGroup("some", ((3, "1 of 1"),)),))
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    drawn = contact_sheet(sheet, {3: (image, 0)}, (r"$\frac{1}$ and a name without an end",))
    assert Image.open(io.BytesIO(drawn)).width == 1072  # 6.7 inches


SHADES = [40 * place + 30 for place in range(5)]  # of red, one for each validation image


@pytest.fixture
def shades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Validation images of one colour each, in two classes, prepared in a cache of its own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for place, shade in enumerate(SHADES):
        for split in ("train", "val"):
            path = tmp_path / "images" / split / ("cat" if place < 3 else "dog") / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (shade, 0, 200)).save(path)
    return prepare("folder", StoreSettings(store_size=16), path=tmp_path / "images", workers=1)


def reds(path: Path) -> list[int]:
    """The red of each picture in the first row of a sheet."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    coloured = (pixels[..., 1] == 0) & (pixels[..., 2] == 200)
    row = int(np.flatnonzero(coloured.any(axis=1))[10])
    return list(dict.fromkeys(pixels[row, coloured[row], 0].tolist()))


Planted = Callable[[DataSpec], list[RunRecord]]


@pytest.fixture
def planted(study: Study) -> Planted:
    """Records of the base that all get image 4 wrong, and most of them image 1."""
    return lambda data: [
        run(study, BASE, seed, wrong, data=data) for seed, wrong in enumerate([(4, 1), (4, 1), (4,)])
    ]


def test_the_pictures_are_those_of_the_chosen_images(
    planted: Planted, shades: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = planted(shades.spec)
    for folder in ("once", "again"):
        write_pictures("reproduce", records, tmp_path / folder)
    assert f"1 file with pictures in {tmp_path / 'once'}\n" in capsys.readouterr().out
    once, again = (tmp_path / folder / f"01-hard-{BASE}.png" for folder in ("once", "again"))
    assert reds(once) == [SHADES[4], SHADES[1]]
    assert once.read_bytes() == again.read_bytes()


def test_data_that_is_not_prepared_is_a_sentence_and_hides_no_other_pictures(
    planted: Planted, shades: Prepared, study: Study, tmp_path: Path
) -> None:
    other = replace(DATA, val_images=5)
    records = [*planted(shades.spec), *planted(other)]
    with pytest.raises(
        DataError,
        match=r"^fashion_mnist at 36 pixels with 4,000 training and 5 validation images and the digest "
        r"abababababab is not prepared on this machine; run: python -m harness data prepare "
        r"fashion_mnist --size 36$",
    ):
        write_pictures("reproduce", records, tmp_path / "pictures")
    (written,) = (tmp_path / "pictures").iterdir()
    assert reds(written) == [SHADES[4], SHADES[1]]


def test_a_folder_that_can_not_be_written_is_one_sentence(
    planted: Planted, shades: Prepared, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"^can't write the pictures to .*file: "):
        write_pictures("reproduce", planted(shades.spec), tmp_path / "file")
