"""The description of a machine: what it may use, what ran, and nothing private."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_run import ENV, SPEC
from faulty import NoDriver

from harness import limits
from harness.errors import RecordError
from harness.machine import collect_env
from harness.machine.collect_env import VARIABLES, bench_key, describe, machine_id, used_gpus
from harness.machine.environment import TorchSettings, UsedGpu
from harness.machine.git_state import source
from harness.placement import Placement
from harness.serialization import from_json, to_json, to_plain


def test_a_machine_keeps_its_id_and_two_caches_differ(tmp_path: Path) -> None:
    first = machine_id(tmp_path / "a")
    assert len(first) == 32
    assert machine_id(tmp_path / "a") == first
    assert machine_id(tmp_path / "b") != first
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["machine-id"]


def test_an_id_that_is_none_or_can_not_be_kept_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("")
    with pytest.raises(RecordError, match="delete it"):
        machine_id(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="set HARNESS_CACHE to a folder"):
        machine_id(tmp_path / "file" / "below")


def test_nothing_private_is_recorded(tmp_path: Path) -> None:
    found = describe(tmp_path, Placement(), cache=tmp_path)
    text = to_json(replace(found, source=None))  # a diff holds what its author wrote
    private = {
        platform.node(),
        str(Path.home()),
        str(tmp_path),
        str(Path(collect_env.__file__).parents[2]),
    }
    assert not [word for word in private if len(word) > 3 and word in text]
    user = getpass.getuser()
    assert user == "root" or f'"{user}"' not in text


def test_every_null_has_its_reason(tmp_path: Path) -> None:
    found = describe(tmp_path, Placement(), cache=tmp_path, nvml=NoDriver())
    assert found.gpus == ()
    for field in ("driver", "nvml", "gpus"):
        assert found.missing[field] == "NVML does not start: no driver"
    plain = to_plain(found)
    parts = plain | {f"torch.{name}": part for name, part in (plain["torch"] or {}).items()}
    assert [name for name, part in parts.items() if part is None and name not in found.missing] == []
    assert found.packages["numpy"] is not None


def test_the_environment_is_the_same_value_after_json(tmp_path: Path) -> None:
    found = describe(tmp_path, Placement(threads=2, loader="folder"), cache=tmp_path)
    assert from_json(to_json(found), type(found)) == found


def test_the_source_of_this_project_is_recorded_with_its_commit(tmp_path: Path) -> None:
    root = Path(collect_env.__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("the tests run outside of a git work tree")
    found = describe(tmp_path, Placement(), cache=tmp_path).source
    assert found is not None
    assert len(found.commit) == 40


def files(root: Path, **content: str) -> Path:
    for name, text in content.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_quota_of_any_cgroup_above_counts(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="0::/job/part\n")
    assert limits.cpu_quota(root) is None
    home = root / "sys/fs/cgroup"
    (home / "job/part").mkdir(parents=True)
    (home / "job/part/cpu.max").write_text("max 100000\n")
    (home / "job/cpu.max").write_text("150000 100000\n")
    assert limits.cpu_quota(root) == 1.5
    (home / "job/memory.max").write_text(str(512 << 20))
    assert limits.memory_limit_mib(root) == 512


def test_the_quota_of_the_older_cgroups_counts_too(tmp_path: Path) -> None:
    root = files(tmp_path, proc__self__cgroup="4:cpu:/job\n")
    home = root / "sys/fs/cgroup/cpu/job"
    home.mkdir(parents=True)
    (home / "cpu.cfs_quota_us").write_text("50000\n")
    (home / "cpu.cfs_period_us").write_text("100000\n")
    assert limits.cpu_quota(root) == 0.5
    assert limits.usable_cores(root) == 1  # never none


def test_usable_cores_are_those_of_the_affinity() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
         "from harness.limits import usable_cores; print(usable_cores())"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(collect_env.__file__).parents[2])},
    )  # fmt: skip
    assert told.stdout == "1\n"


def git(tree: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(tree), *who, *words], check=True, capture_output=True)


def test_the_commit_and_what_was_changed_since_are_recorded(tmp_path: Path) -> None:
    files(tmp_path, harness__code="a\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    missing: dict[str, str] = {}
    clean = source(tmp_path, missing)
    assert clean is not None
    assert (len(clean.commit), clean.dirty, clean.diff) == (40, False, None)
    files(tmp_path, harness__code="b\n", harness__new="x")
    dirty = source(tmp_path, missing)
    assert dirty is not None
    assert dirty.dirty
    assert "-a\n+b" in dirty.diff
    assert dirty.untracked == ("harness/new",)
    files(tmp_path, harness__code="c\n" * 300_000)
    long = source(tmp_path, missing)
    assert long is not None
    assert long.diff_cut
    assert len(long.diff) == 256 << 10
    assert missing == {}


def test_without_git_the_commit_is_null_with_a_reason(tmp_path: Path) -> None:
    missing: dict[str, str] = {}
    assert source(tmp_path, missing) is None
    assert missing == {"source": "no git commit: the code is not in a git work tree with a commit"}


def test_a_bench_key_changes_with_what_changes_speed_and_not_with_the_variant() -> None:
    settings = TorchSettings(
        threads=1, interop_threads=2, cuda=None, cudnn=None, cpu_capability="AVX512", cudnn_benchmark=False,
        deterministic=True, float32_matmul_precision="highest", matmul_tf32=False, cudnn_tf32=False,
    )  # fmt: skip
    here = replace(ENV, torch=settings)
    key = bench_key(here, SPEC, loader="ffcv")
    assert bench_key(here, replace(SPEC, variant="another", seed=9), loader="ffcv") == key
    assert bench_key(here, SPEC, loader="folder") != key
    for other in (
        replace(here, torch=replace(settings, threads=2)),
        replace(here, torch=replace(settings, cpu_capability="AVX2")),
        replace(here, placement=Placement(concurrent=2)),
        replace(here, cpu=replace(here.cpu, model="Y")),
        replace(here, packages={"torch": "3"}),
    ):
        assert bench_key(other, SPEC, loader="ffcv") != key
    assert bench_key(replace(here, driver="570.12"), SPEC, loader="ffcv") == key  # no GPU was used
    for spec in (
        replace(SPEC, recipe=replace(SPEC.recipe, batch_size=64)),
        replace(SPEC, recipe=replace(SPEC.recipe, precision="bf16")),
        replace(SPEC, recipe=replace(SPEC.recipe, order="pages")),
        replace(SPEC, data=replace(SPEC.data, store_size=16)),
    ):
        assert bench_key(here, spec, loader="ffcv") != key


def test_the_bench_key_of_a_gpu_run_names_the_gpu_that_it_used() -> None:
    used = (UsedGpu(name="NVIDIA X", uuid="GPU-2"),)
    here = replace(ENV, used_gpus=used, driver="570.12", placement=Placement(device="cuda:1"))
    on_gpu = replace(SPEC, device="cuda")
    key = bench_key(here, on_gpu)
    assert (key["device"], key["devices"], key["driver"], key["threads"]) == (
        "NVIDIA X",
        1,
        "570.12",
        None,
    )
    assert bench_key(replace(here, driver="580.1"), on_gpu) != key
    assert bench_key(replace(here, used_gpus=used * 2), on_gpu)["devices"] == 2
    assert bench_key(replace(here, used_gpus=None), on_gpu)["device"] is None


@pytest.mark.parametrize("uuid", ["abc", None])
def test_the_used_gpu_is_the_one_that_the_device_names(
    monkeypatch: pytest.MonkeyPatch, uuid: str | None
) -> None:
    torch = pytest.importorskip("torch")
    found = {"cuda:1": SimpleNamespace(name="NVIDIA B", **({} if uuid is None else {"uuid": uuid}))}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found[str(device)])
    missing: dict[str, str] = {}
    assert used_gpus("cuda:1", missing) == (UsedGpu(name="NVIDIA B", uuid=uuid),)
    assert ("used_gpus.uuid" in missing) == (uuid is None)
    assert used_gpus("cpu", missing) == ()


def test_variables_that_force_an_instruction_set_are_recorded() -> None:
    """With them an AVX-512 machine repeats the bits of an AVX2 one."""
    assert {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"} <= set(VARIABLES)
