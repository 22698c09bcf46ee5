"""Files of weights: torchvision's names, round trips, and everything that can be wrong with a file from elsewhere."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from faulty import Bomb
from torch import Tensor, nn

from variants import weights
from variants.layers import Activation, BatchNorm, Conv, Dense
from variants.modules.alexnet import AlexNet, build
from variants.spec import AlexNetSpec
from variants.weights import WeightsError, load_weights, read_state_dict, save_weights

SPEC = AlexNetSpec(
    input_size=4,
    layers=(
        Conv(name="conv1", out=2, kernel=3),
        Activation(name="relu1"),
        Dense(name="fc6", out=5),
        Dense(name="fc8", out=3),
    ),
)


def net(seed: int = 1) -> AlexNet:
    return build(SPEC, generator=torch.Generator().manual_seed(seed))


def same(first: nn.Module, second: nn.Module) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in first.state_dict().items())


def test_safetensors_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    first, second = net(1), net(2)
    save_weights(first, tmp_path / "net.safetensors")
    load_weights(tmp_path / "net.safetensors", second)
    assert same(first, second)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_torch_state_dict_is_read(tmp_path: Path, nested: bool, zipped: bool) -> None:
    first, second = net(1), net(2)
    state = {"state_dict": first.state_dict()} if nested else first.state_dict()
    torch.save(state, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    load_weights(tmp_path / "net.pt", second)
    assert same(first, second)


def test_channels_last_weights_are_saved_as_the_same_numbers(tmp_path: Path) -> None:
    first, second = net(1).to(memory_format=torch.channels_last), net(2)  # type: ignore[call-overload]
    save_weights(first, tmp_path / "net.safetensors")
    load_weights(tmp_path / "net.safetensors", second)
    assert same(first, second)


def test_torchvision_names_are_taken_in_order_with_numbers_compared_as_numbers(tmp_path: Path) -> None:
    first, second = net(1), net(2)
    names = {"conv1": "features.10", "fc6": "classifier.2", "fc8": "classifier.10"}
    state = {
        f"{names[key.partition('.')[0]]}.{key.partition('.')[2]}": v
        for key, v in first.state_dict().items()
    }
    torch.save(dict(reversed(state.items())), tmp_path / "net.pt")
    load_weights(tmp_path / "net.pt", second)
    assert same(first, second)


@pytest.mark.parametrize("inside", ["plain pickle", "torch file"])
def test_pickled_object_is_never_executed(tmp_path: Path, inside: str) -> None:
    target, file = tmp_path / "executed", tmp_path / "net.pt"
    if inside == "plain pickle":
        file.write_bytes(pickle.dumps(Bomb(target)))
    else:
        torch.save({"conv1.weight": Bomb(target)}, file)
    with pytest.raises(WeightsError, match="never executed"):
        load_weights(file, net())
    assert not target.exists()
    pickle.loads(pickle.dumps(Bomb(target)))  # the bomb does go off where it is allowed to
    assert target.exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="state_dict"):
        read_state_dict(tmp_path / "net.pt")


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_torn_file_is_one_sentence(tmp_path: Path, name: str, share: float) -> None:
    file = tmp_path / name
    save_weights(net(), file) if file.suffix == ".safetensors" else torch.save(net().state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError) as caught:
        read_state_dict(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"hello world", b"\x80\x02}q\x00.", b"PK\x03\x04", bytes(range(256))]
)
def test_foreign_bytes_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "net.pt", net())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"conv1.weight": 3.0}, {}])
def test_file_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(WeightsError):
        load_weights(tmp_path / "net.pt", net())


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(WeightsError, match="no file of weights"):
            read_state_dict(path)


def test_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(net().state_dict(), tmp_path / "net.pt")
    monkeypatch.setattr(weights, "LARGEST_FILE_BYTES", 100)
    with pytest.raises(WeightsError, match="more than"):
        read_state_dict(tmp_path / "net.pt")


def test_other_net_is_refused_by_its_first_keys_and_shapes_and_changes_nothing(tmp_path: Path) -> None:
    other = build(SPEC.with_classes(7).after("conv1", BatchNorm(name="bn1")))
    save_weights(other, tmp_path / "net.safetensors")
    module, untouched = net(1), net(1)
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "net.safetensors", module)
    said = str(caught.value)
    assert "has the unknown keys bn1." in said
    assert "and 2 more" in said  # of batch norm's five
    assert "fc8.weight is (7, 5), not (3, 5)" in said
    assert same(module, untouched)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    state = net().state_dict()
    del state["fc6.bias"]
    torch.save(state, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"it lacks fc6\.bias"):
        load_weights(tmp_path / "net.pt", net())


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for item in plain.namelist():
            packed.writestr(item, plain.read(item))
    with pytest.raises(WeightsError, match="is compressed, which torch"):
        read_state_dict(tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(3, 3).to_sparse(), "is sparse, quantised or without values"),
        (torch.zeros(3, device="meta"), "is sparse, quantised or without values"),
        (torch.ones(3, dtype=torch.bool), "holds bool"),
        (torch.ones(3, dtype=torch.int32), "holds int32"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(tmp_path: Path, value: Tensor, words: str) -> None:
    torch.save({"conv1.weight": value}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=words):
        read_state_dict(tmp_path / "net.pt")
