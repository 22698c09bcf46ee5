"""Errors of a GPU and a lack of memory are sentences that say what to do; torch.cuda is a double."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_pace import SPEC
from torch.distributed import DistBackendError

from harness.device_errors import device_errors
from harness.errors import DeviceLost, RunFailed
from harness.machine.environment import UsedGpu
from harness.placement import Placement
from harness.spec import RunSpec
from variants.catalog import CATALOG
from variants.geometry import spec_for

GPU = Placement(device="cuda:1")
USED = (UsedGpu(name="NVIDIA Test GPU", uuid="1a2b"),)
LAUNCH = (
    "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported at "
    "some other API call, so the stacktrace below might be incorrect."
)
PAPER = replace(
    SPEC,
    net=spec_for(CATALOG["grouped_2gpu"], "full", 1000),
    recipe=replace(SPEC.recipe, batch_size=512),
)


def said(error: Exception, spec: RunSpec = PAPER, where: Placement = GPU) -> str:
    with pytest.raises(RunFailed) as found, device_errors(spec, where, USED):
        raise error
    assert found.value.__cause__ is error
    return str(found.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError(LAUNCH), "unspecified launch failure"),
        (torch.AcceleratorError(LAUNCH), "unspecified launch failure"),
        (
            RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"),
            "CUDA-capable device(s) is/are busy or unavailable",
        ),
        (RuntimeError("No CUDA GPUs are available"), "No CUDA GPUs are available"),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        ),
    ],
)
def test_a_lost_gpu_is_named_with_the_way_out(error: Exception, reason: str) -> None:
    with pytest.raises(DeviceLost), device_errors(PAPER, GPU, USED):
        raise error
    sentence = said(error)
    assert sentence.startswith(f"cuda:1 (NVIDIA Test GPU, 1a2b) failed: {reason}; ")
    assert sentence.endswith("repeat the command, which resumes from the last checkpoint")
    assert DeviceLost.exit_code == 4


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), DistBackendError("NCCL: cuda error")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), device_errors(PAPER, GPU):
        raise error


def memory(monkeypatch: pytest.MonkeyPatch, free_mib: int, reserved_mib: int = 0) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free_mib << 20, 1 << 40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: reserved_mib << 20)


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has ...")


def test_out_of_memory_says_which_batch_and_precision_would_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory(monkeypatch, 1000, reserved_mib=4000)
    assert said(FULL) == (
        "out of memory on cuda:1 (NVIDIA Test GPU, 1a2b): a batch of 512 images in fp32 needs about "
        "6,119 MiB, and 5,000 MiB are free for it; use --set batch_size=256, or --set precision=bf16 "
        "(about 3,672 MiB), or several GPUs by torchrun, which divides the batch"
    )


def test_what_can_not_help_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, 100)
    alone = replace(PAPER, recipe=replace(PAPER.recipe, precision="bf16"), world_size=2)
    assert said(FULL, alone).endswith("100 MiB are free for it; use a device with more memory")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")]
)
def test_a_lack_of_memory_on_the_cpu_is_one_too(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.device_errors.memory_limit_mib", lambda: 24576)
    sentence = said(error, where=Placement(device="cpu"))
    assert sentence.endswith(
        "24,576 MiB are free for it; use --set batch_size=256, or --set precision=bf16 (about 3,672 MiB)"
    )


def test_a_batch_that_would_fit_is_at_most_half_of_the_one_that_did_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory(monkeypatch, 80000)
    assert "use --set batch_size=256, or" in said(FULL)
