"""`eval`: weights from a file, ours or torchvision's, give the trained network's errors; misfits are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from faulty import Bomb
from safetensors.torch import save_file

from harness.cli.app import main
from harness.data.prepare.job import prepare
from harness.data.prepare.manifest import StoreSettings
from harness.placement import Placement
from harness.records.store import Store
from harness.resolve import RunRequest, run_spec
from harness.run import evaluate_weights, execute
from variants.catalog import CATALOG
from variants.modules.alexnet import build

REQUEST = RunRequest("one_weird_trick", "mini", "synthetic", 0, limits=(128, 64))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def prepared() -> Any:
    return prepare("synthetic", StoreSettings(store_size=36, limit=REQUEST.limits))


def test_saved_weights_evaluate_to_the_records_errors(tmp_path: Path) -> None:
    data, weights = prepared(), tmp_path / "weights.safetensors"
    spec = run_spec(REQUEST, data, "cpu")
    record = execute(spec, data, Store(tmp_path / "results"), Placement(), weights_to=weights)
    assert evaluate_weights(spec, data, weights, Placement()) == record.summary.results


def eval_command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["eval", "--data", "synthetic", *words])
    told = capsys.readouterr()
    return int(stop.value.code or 0), told.out, told.err


def test_torchvisions_names_are_mapped_and_the_result_is_one_json_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full size, so that torchvision's own module fits; ten images keep it short."""
    monkeypatch.setattr("harness.data.loaders.synthetic.TRAIN_IMAGES", 20)
    monkeypatch.setattr("harness.data.loaders.synthetic.VAL_IMAGES", 10)
    torch.manual_seed(0)
    path = tmp_path / "alexnet.pth"
    torch.save(torchvision.models.alexnet(num_classes=10).state_dict(), path)
    words = [
        "--variant",
        "one_weird_trick",
        "--recipe",
        "torchvision",
        "--weights",
        str(path),
        "--json",
    ]
    code, out, err = eval_command(capsys, *words)
    assert code == 0, err
    result = json.loads(out)["centre"]
    assert 0.0 <= result["top5_error"] <= result["top1_error"] <= 1.0


def test_weights_of_another_net_are_refused_by_their_first_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(
        build(CATALOG["grouped_2gpu"].spec.without("conv4", "relu4").with_classes(10)).state_dict(),
        path,
    )
    code, _, err = eval_command(
        capsys, "--variant", "grouped_2gpu", "--recipe", "paper", "--weights", str(path)
    )
    assert code == 2
    assert "conv4.weight" in err
    assert "Traceback" not in err


def test_a_pickled_object_is_refused_and_never_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, trace = tmp_path / "bomb.pth", tmp_path / "executed"
    with path.open("wb") as file:
        pickle.dump({"conv1.weight": Bomb(trace)}, file)
    code, _, err = eval_command(capsys, "--variant", "grouped_2gpu", "--weights", str(path))
    assert code == 2
    assert "Traceback" not in err
    assert not trace.exists()


def test_a_missing_file_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = eval_command(
        capsys, "--variant", "grouped_2gpu", "--weights", str(tmp_path / "none.pth")
    )
    assert code == 2
    assert err.count("error:") == 1
    assert "none.pth" in err
