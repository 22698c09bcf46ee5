"""`Environment`, the type of env.json: the machine and software of a run. Names include units."""

from __future__ import annotations

from harness.bounds import Amount, Count, Size
from harness.placement import Placement
from harness.probes.gpus import Gpu
from variants.values import value

SCHEMA_VERSION = 2  # of everything in a record's folder; records/schema_1.py reads version 1


@value
class Cpu:
    """The processor, and how much of it this process may use."""

    model: str
    cores_affinity: Size
    cores_quota: Amount | None  # the container's limit in CPU seconds per second; null without a limit
    cores_usable: Size
    memory_mib: Count  # of the machine, or of the container where that is less


@value
class UsedGpu:
    """A GPU that the run computed on, as CUDA names it. uuid: null if torch does not report it."""

    name: str
    uuid: str | None


@value
class TorchSettings:
    """Threads and settings of torch that change speed or last bits."""

    threads: Size
    interop_threads: Size
    cuda: str | None  # null in a build for the CPU
    cudnn: Count | None  # null where CUDA is not available
    cpu_capability: str
    cudnn_benchmark: bool
    deterministic: bool
    float32_matmul_precision: str
    matmul_tf32: bool | None
    cudnn_tf32: bool | None


@value
class Source:
    """The source code that ran. diff: the changes since the commit, cut at 256 KiB (diff_cut)."""

    commit: str
    dirty: bool
    diff: str | None  # null if nothing was changed
    diff_cut: bool
    untracked: tuple[str, ...]  # files of the packages that are not in git


@value
class Environment:
    """env.json. `missing` maps a null field's name to the reason; a field of a part has a dotted
    name.
    """

    schema_version: int = SCHEMA_VERSION
    machine_id: str
    harness: str
    python: str
    packages: dict[str, str | None]  # version by name; null: not installed
    os: str
    cpu: Cpu
    gpus: tuple[Gpu, ...]  # all that are visible
    used_gpus: tuple[UsedGpu, ...] | None  # those the run computed on; empty on the CPU
    driver: str | None
    driver_cuda: str | None  # the newest CUDA version that the driver supports
    nvml: str | None
    torch: TorchSettings | None
    variables: dict[str, str | None]  # environment variables that change speed or bits; null: not set
    source: Source | None
    placement: Placement
    disk_free_mib: Count | None  # where results are kept, at the start
    missing: dict[str, str]
