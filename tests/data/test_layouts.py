"""Folders as users have them: archives, Kaggle's and Tiny-ImageNet's layouts, flat val/, files that are no images."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from harness.data.progress import silent
from harness.data.sources import cifar10
from harness.data.sources.class_folders import ImageFiles, open_class_folders
from harness.data.sources.ilsvrc_boxes import open_located
from harness.data.sources.layouts import IMAGE_SUFFIXES
from harness.data.sources.val_labels import labels_for, sort_images
from harness.errors import DataError

VAL = {"ILSVRC2012_val_00000001.JPEG": "n02", "ILSVRC2012_val_00000002.JPEG": "n01"}
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>6</xmax><ymax>4</ymax></bndbox>"


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(path)


def annotation(file: Path, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    size = "<size><width>10</width><height>8</height></size>"
    file.write_text(f"<annotation>{size}<object><name>{name}</name>{BOX}</object></annotation>")


def csv_labels(file: Path) -> Path:
    rows = "".join(
        f"{name.removesuffix('.JPEG')},{label} 1 2 6 4 {label} 0 0 5 5 \n"
        for name, label in VAL.items()
    )
    file.write_text(f"ImageId,PredictionString\n{rows}")
    return file


def devkit(file: Path) -> Path:
    """The two files that are read, in an archive like ILSVRC's: ids 1 and 2 are classes, 1001 is above them."""
    synsets = np.array(
        [(1, "n01"), (2, "n02"), (1001, "n00")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")]
    )
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    with tarfile.open(file, "w:gz") as tar:
        for name, content in (
            ("meta.mat", meta.getvalue()),
            ("ILSVRC2012_validation_ground_truth.txt", b"2\n1\n"),
        ):
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def xml_labels(folder: Path) -> Path:
    for name, label in VAL.items():
        annotation(folder / Path(name).with_suffix(".xml"), label)
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """train/ in class folders, val/ as ILSVRC's archive unpacks."""
    for name in ("train/n01/a.JPEG", "train/n02/b.JPEG", *(f"val/{name}" for name in VAL)):
        image(tmp_path / "data" / name)
    return tmp_path / "data"


def kaggle(tmp_path: Path) -> Path:
    root = tmp_path / "kaggle"
    below = root / "ILSVRC/Data/CLS-LOC"
    for name in (
        "train/n01/a.JPEG",
        "train/n02/b.JPEG",
        "test/x.JPEG",
        *(f"val/{name}" for name in VAL),
    ):
        image(below / name)
    csv_labels(root / "LOC_val_solution.csv")
    annotation(root / "ILSVRC/Annotations/CLS-LOC/train/n01/a.xml", "n01")
    xml_labels(root / "ILSVRC/Annotations/CLS-LOC/val")
    return root


def labels_of(split: ImageFiles) -> dict[str, str]:
    return {Path(split.name(i)).name: split.classes[split.labels[i]] for i in range(len(split))}


def test_the_image_suffixes_are_those_of_torchvision() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert IMAGE_SUFFIXES == IMG_EXTENSIONS


def test_files_without_an_image_suffix_are_ignored_and_counted(flat: Path) -> None:
    csv_labels(flat / "LOC_val_solution.csv")
    (flat / "train/n01/n01_boxes.txt").touch()
    (flat / "val/Thumbs.db").touch()
    train, val = open_class_folders(flat, silent)
    assert (len(train), train.ignored, len(val), val.ignored) == (2, 1, 2, 1)


def test_a_class_folder_of_other_files_is_named_with_what_it_holds(flat: Path) -> None:
    (flat / "train/n03").mkdir()
    (flat / "train/n03/x.gif").touch()
    with pytest.raises(
        DataError, match=r"train/n03 holds no images \(1 files that end in none of .jpg .jpeg"
    ):
        open_class_folders(flat, silent)


@pytest.mark.parametrize("name", ["val", "test"])
def test_the_second_split_is_val_or_test(tmp_path: Path, name: str) -> None:
    for file in ("train/a/1.png", "train/b/2.png", f"{name}/b/3.png"):
        image(tmp_path / file)
    assert open_class_folders(tmp_path, silent)[1].labels.tolist() == [1]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    image(tmp_path / "val/a/1.png")
    with pytest.raises(DataError, match=r"has no folder train/; it needs train/ and val/ \(or test/\)"):
        open_class_folders(tmp_path, silent)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz"])
def test_an_archive_is_answered_with_the_command_that_unpacks_it(tmp_path: Path, suffix: str) -> None:
    for file in ("pets/train/a/1.png", "pets/val/a/2.png"):
        image(tmp_path / file)
    archive = tmp_path / f"my images{suffix}"
    if suffix == ".zip":
        import zipfile

        with zipfile.ZipFile(archive, "w") as packed:
            for file in (tmp_path / "pets").rglob("*.png"):
                packed.write(file, file.relative_to(tmp_path / "pets"))
    else:
        with tarfile.open(archive, "w:gz" if suffix != ".tar" else "w") as tar:
            tar.add(tmp_path / "pets", ".")
    with pytest.raises(DataError, match="is an archive; unpack it with: ") as refused:
        open_class_folders(archive, silent)
    command = str(refused.value).partition("unpack it with: ")[2].partition(", and give")[0]
    if suffix == ".zip":
        # unzip may be missing
        command = command.replace("unzip -q", "python3 -m zipfile -e").replace(" -d ", " ")
    subprocess.run(command, shell=True, check=True)
    assert len(open_class_folders(tmp_path / "my images", silent)[0]) == 1


def test_a_folder_that_holds_an_archive_is_answered_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "tiny-imagenet-200.zip").touch()
    with pytest.raises(DataError, match=r"tiny-imagenet-200.zip is an archive; unpack it with: "):
        open_class_folders(tmp_path, silent)


def test_class_archives_of_ilsvrc_are_unpacked_by_the_command_named(flat: Path) -> None:
    csv_labels(flat / "LOC_val_solution.csv")
    for name in ("n01", "n02"):
        with tarfile.open(flat / f"train/{name}.tar", "w") as tar:
            for file in (flat / "train" / name).iterdir():
                tar.add(file, file.name)
                file.unlink()
        (flat / "train" / name).rmdir()
    with pytest.raises(
        DataError, match=r"holds 2 archives \(n0..tar, ...\) and no class folders; unpack"
    ) as refused:
        open_class_folders(flat, silent)
    subprocess.run(str(refused.value).partition("of its own: ")[2], shell=True, check=True)
    assert labels_of(open_class_folders(flat, silent)[0]) == {"a.JPEG": "n01", "b.JPEG": "n02"}


def test_ilsvrcs_own_archives_are_answered_with_torchvisions_sorting(tmp_path: Path) -> None:
    (tmp_path / "ILSVRC2012_img_train.tar").touch()
    with pytest.raises(
        DataError, match=r"without ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz"
    ):
        open_class_folders(tmp_path, silent)
    for name in ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"unpack and sort them with: python -c .*import ImageNet"):
        open_class_folders(tmp_path, silent)


def test_kaggles_layout_is_read_as_it_unpacks(tmp_path: Path) -> None:
    root = kaggle(tmp_path)
    for path in (root, root / "ILSVRC", root / "ILSVRC/Data/CLS-LOC"):
        train, val = open_class_folders(path, silent)
        assert labels_of(train) == {"a.JPEG": "n01", "b.JPEG": "n02"}
        assert labels_of(val) == VAL


def test_kaggles_layout_is_read_with_boxes(tmp_path: Path) -> None:
    train, val = open_located(kaggle(tmp_path) / "ILSVRC", silent)
    assert labels_of(train) == {"a.JPEG": "n01"}
    assert labels_of(val) == VAL
    assert val.boxes is not None
    assert val.item(0).size == (10, 8)


def test_tiny_imagenets_layout_is_read_as_it_unpacks(tmp_path: Path) -> None:
    for name in ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG", "val/images/val_0.JPEG"):
        image(tmp_path / name)
    (tmp_path / "train/n01/n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t5\t5\n")
    (tmp_path / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t5\t5\n")
    train, val = open_class_folders(tmp_path, silent)
    assert labels_of(train) == {"n01_0.JPEG": "n01", "n02_0.JPEG": "n02"}
    assert (labels_of(val), val.ignored) == ({"val_0.JPEG": "n02"}, 0)


def test_flat_and_sorted_images_are_the_same_data(flat: Path, tmp_path: Path) -> None:
    labels = csv_labels(flat / "LOC_val_solution.csv")
    before = open_class_folders(flat, silent)[1]
    assert sort_images(flat / "val", labels) == (2, 2)
    after = open_class_folders(flat, silent)[1]
    assert before.listing == after.listing
    assert before.labels.tolist() == after.labels.tolist()


def test_flat_images_without_labels_are_answered_with_the_command(flat: Path) -> None:
    with pytest.raises(
        DataError, match=r"val holds images that are not in class folders; .* data sort .*val --labels"
    ):
        open_class_folders(flat, silent)


@pytest.mark.parametrize("kind", ["csv", "devkit", "xml"])
def test_flat_images_are_sorted_by_each_kind_of_labels(flat: Path, tmp_path: Path, kind: str) -> None:
    makers = {"csv": csv_labels, "devkit": devkit, "xml": xml_labels}
    place = makers[kind](
        tmp_path / {"csv": "labels.csv", "devkit": "devkit.tar.gz", "xml": "notes"}[kind]
    )
    assert sort_images(flat / "val", place) == (2, 2)
    assert labels_of(open_class_folders(flat, silent)[1]) == VAL


def test_nothing_is_moved_where_an_image_has_no_class(flat: Path, tmp_path: Path) -> None:
    image(flat / "val/strange.JPEG")
    with pytest.raises(DataError, match=r"has no class for strange.JPEG \(1 of 3 images\)"):
        sort_images(flat / "val", csv_labels(tmp_path / "labels.csv"))
    assert len(list((flat / "val").glob("*.JPEG"))) == 3
    with pytest.raises(DataError, match="gives no classes of images"):
        sort_images(flat / "val", tmp_path / "missing.csv")


def test_damaged_labels_are_one_sentence_whatever_the_damage(flat: Path, tmp_path: Path) -> None:
    """scipy raises many kinds of errors for damaged .mat files, csv one of its own."""
    whole = devkit(tmp_path / "whole.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "whole.tar.gz") as tar:
        # extractall has a filter from Python 3.11.4 on
        for member in filter(tarfile.TarInfo.isfile, tar):
            held = tar.extractfile(member)
            assert held is not None
            (tmp_path / member.name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / member.name).write_bytes(held.read())
    meta = next(tmp_path.rglob("meta.mat"))
    kit, mat = meta.parents[1], meta.read_bytes()
    for cut in range(0, len(mat) - 1, 60):
        meta.write_bytes(mat[:cut])
        with pytest.raises(DataError, match="gives no classes of images"):
            labels_for(["val/a.JPEG"], kit)
    labels, table = tmp_path / "cut.tar.gz", tmp_path / "labels.csv"
    labels.write_bytes(whole[: len(whole) // 2])
    table.write_text("a.JPEG," + "n" * 200_000)
    (tmp_path / "notes").mkdir()
    annotation(tmp_path / "notes/a.xml", "n01")
    (tmp_path / "notes/b.xml").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>")
    for place in (labels, table, tmp_path / "notes"):
        with pytest.raises(DataError, match=f"{place.name} gives no classes of images"):
            labels_for(["val/a.JPEG", "val/b.JPEG", "val/c.JPEG"], place)


def test_a_class_that_leaves_the_folder_is_refused(flat: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("".join(f"{name},../up\n" for name in VAL))
    with pytest.raises(DataError, match="gives no classes of images"):
        sort_images(flat / "val", tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("suffix", "contents"),
    [(".jpg", "CIFAR-10, JPEG re-encoded"), (".png", "CIFAR-10 in class folders")],
)
def test_cifar10_in_class_folders_is_named_as_what_it_is(
    tmp_path: Path, suffix: str, contents: str
) -> None:
    for name in ("train/cat/x", "train/dog/y", "test/dog/z"):
        image(tmp_path / f"{name}{suffix}")
    assert [split.contents for split in cifar10.open_cifar10(tmp_path, tmp_path, silent)] == [
        contents
    ] * 2
