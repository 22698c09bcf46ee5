"""Records of schema version 1 stay readable: one that this project sealed and committed under that version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from calling import finished

from harness.errors import RecordError
from harness.events import LrChanged, StepsDone
from harness.machine.environment import Environment, UsedGpu
from harness.records import schema_1
from harness.records.record import RunRecord
from harness.records.store import Store
from harness.records.tables import curves_table, runs_table
from harness.records.verify import verify
from harness.serialization import from_json

(OLD,) = (Path(__file__).parent / "schema_1").iterdir()


def test_it_is_whole_and_was_sealed_under_another_digest_than_it_has_now() -> None:
    record = RunRecord.load(OLD)
    assert verify(OLD) == []
    assert "schema_version" not in json.loads((OLD / "env.json").read_text())
    assert record.spec.digest != record.summary.spec_digest


def test_its_recipe_and_events_have_the_present_names() -> None:
    record = RunRecord.load(OLD)
    recipe = record.spec.recipe
    assert (recipe.lr, recipe.lr_inside_velocity, recipe.late_changes) == (0.01, True, ())
    assert recipe.augmentation.images_per_draw == 1
    rates = [event.lr for event in record.events() if isinstance(event, StepsDone)]
    assert (rates[0], rates[-1]) == (0.01, pytest.approx(0.001))
    assert [event.lr for event in record.events() if isinstance(event, LrChanged)] == [
        pytest.approx(0.001)
    ]


def test_its_environment_is_read_strictly_and_says_what_was_not_recorded() -> None:
    env = RunRecord.load(OLD).env
    assert (env.schema_version, env.placement.concurrent, env.cpu.model) == (1, 2, "AMD EPYC")
    assert env.torch is not None
    assert (env.torch.cpu_capability, env.torch.matmul_tf32, env.used_gpus) == ("AVX2", None, ())
    assert env.missing["torch.matmul_tf32"] == "schema version 1 did not record it"


@pytest.mark.parametrize("visible", [1, 2])
def test_the_used_gpu_of_version_1_is_known_only_where_one_was_visible(visible: int) -> None:
    plain = json.loads((OLD / "env.json").read_text())
    gpu = {
        "device": "GPU-1", "name": "NVIDIA X", "memory_mib": 1, "power_limit_w": 700.0, "max_sm_clock_mhz": 1980,
        "mig": "off", "chosen_by": "all visible", "missing": {},
    }  # fmt: skip
    plain |= {"gpus": [gpu] * visible, "placement": {**plain["placement"], "device": "cuda"}}
    env = from_json(json.dumps(plain), Environment, schema_1.env)
    if visible == 1:
        assert env.used_gpus == (UsedGpu(name="NVIDIA X", uuid="GPU-1"),)
    else:
        assert env.used_gpus is None
        assert "all visible GPUs" in env.missing["used_gpus"]


@pytest.mark.parametrize(
    ("old", "new"),
    [('"model"', '"modell"'), ('"cores_usable": 2', '"cores_usable": "2"'), ('"os"', '"oss"')],
)
def test_an_unknown_or_wrong_field_of_env_is_an_error_that_names_the_file(
    tmp_path: Path, old: str, new: str
) -> None:
    folder = shutil.copytree(OLD, tmp_path / OLD.name)
    path = folder / "env.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecordError, match=r"env\.json: not a valid Environment: "):
        RunRecord.load(folder)


def test_it_is_in_the_tables() -> None:
    record = RunRecord.load(OLD)
    assert runs_table([record])["variant"].tolist() == ["no_lrn", "no_lrn"]
    assert curves_table([record])["lr"].max() == 0.01


def test_it_counts_as_finished_by_its_contents(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / OLD.name)
    record = RunRecord.load(OLD)
    assert finished(Store(tmp_path), record.env.machine_id) == {record.spec.digest}


def test_a_record_of_a_version_to_come_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD, tmp_path / OLD.name)
    env = folder / "env.json"
    env.write_text(env.read_text().replace('"python"', '"schema_version": 99, "python"'))
    with pytest.raises(RecordError, match="its schema_version is 99; this harness reads 1 to 2"):
        RunRecord.load(folder)
