"""Which worker of a study computes where: one GPU for each, and the CPU shared by cores."""

from __future__ import annotations

import pytest

from harness.devices import study_placement
from harness.errors import UsageError

GPUS = ["GPU-a", "GPU-b", "GPU-c"]


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_each_worker_sees_one_gpu_and_all_are_used(device: str) -> None:
    where, environments = study_placement(device, None, "auto", GPUS, run_mib=1000)
    assert where.device == "cuda"
    assert environments == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in GPUS]


def test_jobs_are_for_each_gpu_and_neighbours_come_first() -> None:
    where, environments = study_placement("cuda", 2, "auto", GPUS, run_mib=1000)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == [*GPUS, *GPUS]
    assert where.concurrent == 2


def test_a_numbered_gpu_is_the_only_one() -> None:
    assert study_placement("cuda:1", None, "auto", GPUS, run_mib=1000)[1] == [
        {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    ]
    with pytest.raises(UsageError, match=r"there is no device 'cuda:3'; cuda:0 to cuda:2 are visible"):
        study_placement("cuda:3", None, "auto", GPUS, run_mib=1000)


def test_on_the_cpu_workers_share_the_cores() -> None:
    where, environments = study_placement("cpu", 3, "auto", GPUS, run_mib=1000)
    assert (where.device, where.concurrent, environments) == ("cpu", 3, [{}, {}, {}])


@pytest.mark.parametrize(("cores", "workers"), [(2, 1), (12, 3), (128, 12)])
def test_runs_on_gpus_share_the_cores_for_loading(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    """One core of each run launches kernels, and no run has more than 12 workers."""
    monkeypatch.setattr("harness.devices.usable_cores", lambda: cores)
    assert study_placement("cuda", None, "auto", GPUS, run_mib=1000)[0].workers == workers


def test_without_a_gpu_cuda_is_refused_and_auto_is_the_cpu() -> None:
    with pytest.raises(UsageError, match="device 'cuda' can't be used"):
        study_placement("cuda", None, "auto", [], run_mib=1000)
    assert study_placement("auto", 1, "auto", [], run_mib=1000)[0].device == "cpu"
