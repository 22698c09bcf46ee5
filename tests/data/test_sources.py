"""Named sources: what each reads, how it is checked, and one sentence for everything that doesn't fit. No network."""

from __future__ import annotations

import errno
import gzip
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2 import functional as tv

from harness.data.progress import silent
from harness.data.resize import resize_and_centre_crop
from harness.data.sources import cifar10, fashion_mnist, source_named, sources
from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import Subset, balanced
from harness.data.sources.class_folders import open_class_folders
from harness.data.sources.composed import ComposedSplit
from harness.data.sources.ilsvrc_boxes import open_located, read_box
from harness.errors import DataError, UsageError
from harness.setup.steps import SetupError


def picture(path: Path, width: int = 9, height: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
        path
    )
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "train/b/2.png",
        "train/b/10.png",
        "train/a/sub/x.png",
        "train/a/z.png",
        "val/b/v.png",
    ):
        picture(tmp_path / name)
    return tmp_path


def garments(count: int = 40) -> ArraySplit:
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    for i in range(count):
        images[i, 4 + i % 5 : 20, 6 : 18 + i % 7] = 200
    return ArraySplit("test", images, np.arange(count) % 10, fashion_mnist.CLASSES)


def test_every_row_has_a_description_and_its_own_name() -> None:
    assert {name: source.name for name, source in sources().items()} == {
        name: name for name in sources()
    }
    assert all(source.description for source in sources().values())


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(
        UsageError,
        match=r"no data set 'fashion_mist'. Did you mean 'fashion_mnist'\? See: .* data list",
    ):
        source_named("fashion_mist")


@pytest.mark.parametrize("name", [name for name, source in sources().items() if source.needs_path])
def test_a_source_that_needs_a_path_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--path"):
        sources()[name].open(None, tmp_path, silent)


def test_the_table_loads_no_torch() -> None:
    command = "import sys, harness.data.sources; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 501), (30, 28), (20, 97), (36, 36), (36, 39), (41, 36)]
)
def test_squares_equal_torchvisions_resize_and_centre_crop(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    expected = tv.center_crop(tv.resize(image, [36]), [36, 36])
    assert (resize_and_centre_crop(image, 36) == np.asarray(expected)).all()


def test_class_folders_are_read_in_imagefolders_order(tree: Path) -> None:
    train, _ = open_class_folders(tree, silent)
    expected = ImageFolder(str(tree / "train"))
    assert list(train.classes) == expected.classes
    assert [(train.name(i), int(train.labels[i])) for i in range(len(train))] == expected.samples


def test_val_labels_are_trains_even_where_val_lacks_a_class(tree: Path) -> None:
    _, val = open_class_folders(tree, silent)
    assert val.labels.tolist() == [1]
    assert val.classes == ("a", "b")


def test_the_listing_changes_with_names_labels_and_sizes(tree: Path) -> None:
    found = {open_class_folders(tree, silent)[0].listing}
    for change in (
        lambda: (tree / "train/b/2.png").rename(tree / "train/b/3.png"),
        lambda: (tree / "train/b/3.png").rename(tree / "train/a/3.png"),
        lambda: picture(tree / "train/b/10.png", width=40),
    ):
        change()
        found.add(open_class_folders(tree, silent)[0].listing)
    assert len(found) == 4


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*/nowhere"):
        open_class_folders(tmp_path / "nowhere", silent)


def test_missing_splits_are_named(tmp_path: Path) -> None:
    picture(tmp_path / "train/a/x.png")
    with pytest.raises(
        DataError, match=r"has no folder val/ or test/; it needs train/ and val/ \(or test/\)"
    ):
        open_class_folders(tmp_path, silent)


def test_a_folder_without_images_is_named(tree: Path) -> None:
    (tree / "train/empty").mkdir()
    (tree / "train/empty/.hidden").touch()
    with pytest.raises(DataError, match=r"train/empty holds no images; fill it, or remove the folder"):
        open_class_folders(tree, silent)


def test_an_empty_split_is_named(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"train holds no images; it needs one folder a class"):
        open_class_folders(tmp_path, silent)


def test_images_outside_of_class_folders_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "train/x.png")
    with pytest.raises(DataError, match="holds images, but not in class folders"):
        open_class_folders(tmp_path, silent)


def test_a_class_that_train_lacks_is_named(tree: Path) -> None:
    picture(tree / "val/zebra/x.png")
    with pytest.raises(DataError, match=r"has a class 'zebra' that train/ lacks \(1 of 2 classes"):
        open_class_folders(tree, silent)


def test_an_unreadable_folder_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is acted, since root may read everything."""
    import os

    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"train/a/sub can't be read \(permission denied\)"):
        open_class_folders(tree, silent)


def test_a_limit_takes_the_classes_in_turn_and_more_of_the_same() -> None:
    split = garments(40)
    few, more = balanced(split, 15), balanced(split, 23)
    counts = np.bincount(few.labels, minlength=10)
    assert counts.max() - counts.min() == 1
    assert set(few.kept) < set(more.kept)
    assert len({split.listing, few.listing, more.listing}) == 3


@pytest.mark.parametrize("count", [0, 41])
def test_an_impossible_limit_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="use 1 to 40"):
        balanced(garments(40), count)


def test_fashion_mnist_is_checked_by_what_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {
        name: (b"\0" * 4 + np.array([2, 28, 28], dtype=">u4").tobytes() + bytes(range(2)) * 784)
        if "images" in name
        else b"\0" * 4 + np.array([2], dtype=">u4").tobytes() + bytes([7, 3])
        for name in fashion_mnist.SUMS
    }
    for name, data in contents.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data, compresslevel=1))
    with pytest.raises(DataError, match="is not Fashion-MNIST's: its checksum differs"):
        fashion_mnist.open_fashion_mnist(tmp_path, tmp_path, silent)
    monkeypatch.setattr(
        fashion_mnist, "SUMS", {n: hashlib.sha256(d).hexdigest() for n, d in contents.items()}
    )
    train, _ = fashion_mnist.open_fashion_mnist(tmp_path, tmp_path, silent)
    assert train.labels.tolist() == [7, 3]
    assert train.item(1).shape == (28, 28, 3)
    assert (train.item(1)[:, :, 0] == train.item(1)[:, :, 2]).all()


def test_unavailable_fashion_mnist_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise SetupError("apt-get can't be run")

    def no_site(*_: object, **__: object) -> None:
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "none")
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(fashion_mnist.debian, "download", no_network)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", no_site)
    with pytest.raises(
        DataError,
        match=r"can't be fetched \(apt-get .*; its site .*: no route\); install .*--path FOLDER",
    ):
        fashion_mnist.open_fashion_mnist(None, tmp_path, silent)
    assert list((tmp_path / "downloads/fashion-mnist").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("call", ["pathlib.Path.mkdir", "tempfile.mkdtemp"])
def test_a_cache_that_takes_nothing_is_named_and_no_other_way_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """The refusal is acted, since root may write everywhere."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "none")
    monkeypatch.setattr(
        fashion_mnist.debian, "download", lambda *_: pytest.fail("a download was begun")
    )
    monkeypatch.setattr(call, refuse)
    with pytest.raises(DataError, match=r"^could not write .*fashion-mnist: .* HARNESS_CACHE"):
        fashion_mnist.open_fashion_mnist(None, tmp_path, silent)


def test_a_system_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_site(*_: object, **__: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "none")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", no_site)
    with pytest.raises(DataError, match=r"can't be fetched \(this system has no apt-get and dpkg-deb"):
        fashion_mnist.open_fashion_mnist(None, tmp_path, silent)


def test_cifar10_reads_class_folders_with_test_as_validation(tmp_path: Path) -> None:
    for name in ("train/cat/x.png", "train/dog/x.png", "test/dog/y.png"):
        picture(tmp_path / name)
    train, val = cifar10.open_cifar10(tmp_path, tmp_path, silent)
    assert (train.labels.tolist(), val.labels.tolist()) == ([0, 1], [1])


def test_foreign_cifar10_batches_are_never_unpickled(tmp_path: Path) -> None:
    """torchvision compares MD5 sums before it reads a pickle."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(DataError, match=r"CIFAR-10 can't be read from .*add --path FOLDER"):
        cifar10.open_cifar10(folder, tmp_path, silent)


def test_composed_boxes_bound_the_garment() -> None:
    """Bilinear scaling shades the edge over one pixel on either side."""
    split = ComposedSplit(garments(), 0)
    assert split.boxes is not None
    for index in range(len(split)):
        rows, columns = (
            np.flatnonzero((split.item(index)[:, :, 0] > 100).any(axis=axis)) for axis in (1, 0)
        )
        x, y, width, height = split.boxes[index] * 56
        found = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
        np.testing.assert_allclose([x, y, width, height], found, atol=2.0)


def test_composed_pictures_are_the_same_each_time_and_differ_between_splits() -> None:
    first, again, other = (ComposedSplit(garments(), number) for number in (0, 0, 1))
    assert (first.item(3) == again.item(3)).all()
    assert (first.item(3) != other.item(3)).any()
    assert first.listing == again.listing != other.listing


def annotation(
    path: Path, box: str, size: str = "<width>10</width><height>8</height>", head: str = ""
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}<annotation><size>{size}</size>{box}</annotation>")
    return path


def corners(*values: int) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, values, strict=True))
    return f"<object><name>n1</name><bndbox>{inner}</bndbox></object>"


def test_annotations_give_the_first_box_in_shares(tmp_path: Path) -> None:
    file = annotation(tmp_path / "a.xml", corners(1, 2, 6, 4) + corners(0, 0, 9, 8))
    assert read_box(file) == (0.1, 0.25, 0.5, 0.25)


@pytest.mark.parametrize(
    ("box", "head", "message"),
    [
        (corners(1, 2, 6, 4), "<!DOCTYPE a [<!ENTITY b 'c'>]>", "defines a document type"),
        (corners(6, 2, 1, 4), "", "outside of 10x8"),
        (corners(1, 2, 11, 4), "", "outside of 10x8"),
        ("", "", "not a readable CLS-LOC annotation"),
        ("<object>", "", "not a readable CLS-LOC annotation"),
        ("<!--" + "x" * (1 << 20) + "-->", "", "larger than any annotation"),
    ],
)
def test_strange_annotations_are_refused(tmp_path: Path, box: str, head: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_box(annotation(tmp_path / "a.xml", box, head=head))


def test_ilsvrc_with_boxes_keeps_the_annotated_pictures(tmp_path: Path) -> None:
    data, notes = tmp_path / "Data/CLS-LOC", tmp_path / "Annotations/CLS-LOC"
    for name in ("train/n1/a.JPEG", "train/n1/b.JPEG", "train/n2/c.JPEG", "val/n2/v.JPEG"):
        picture(data / name)
    for name in ("train/n1/b.xml", "train/n2/c.xml", "val/v.xml"):  # validation annotations lie flat
        annotation(notes / name, corners(1, 2, 6, 4))
    train, val = open_located(tmp_path, silent)
    assert [Path(train.name(i)).name for i in range(len(train))] == ["b.JPEG", "c.JPEG"]
    assert train.labels.tolist() == [0, 1]
    assert val.boxes is not None
    np.testing.assert_allclose(val.boxes, [[0.1, 0.25, 0.5, 0.25]], rtol=1e-6)


def test_a_part_keeps_names_labels_and_pictures_together() -> None:
    split = garments(10)
    part = Subset(split, np.array([2, 7]))
    assert [part.name(i) for i in range(2)] == ["test image 2", "test image 7"]
    assert (part.item(1) == split.item(7)).all()
    assert part.labels.tolist() == [2, 7]
