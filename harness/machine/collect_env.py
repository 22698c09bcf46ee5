"""Collects the environment of a run: everything that changes speed or last bits, and nothing private.

Versions, processor, GPUs, threads and commit are recorded; host name, user name and paths are not.
`machine_id` is a random number in the cache folder, so that two machines made from the same image have
different ids.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import RecordError
from harness.machine.environment import Environment, TorchSettings, UsedGpu
from harness.machine.git_state import source
from harness.machine.hardware import cpu, disk_free_mib, gpus
from harness.placement import Placement
from harness.setup.cache import cache_folder
from harness.spec import RunSpec
from harness.version import __version__

CPU_RUN_WAITS_S = 3.0  # for NVML: a run on the CPU needs no name of a GPU
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "ffcv",
    "numpy",
    "numba",
    "triton",
    "nvidia-ml-py",
    "pandas",
    "scipy",
)
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
             "CUBLAS_WORKSPACE_CONFIG", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA",
             "PYTORCH_CUDA_ALLOC_CONF", "NUMBA_NUM_THREADS")  # fmt: skip


def machine_id(cache: Path) -> str:
    """32 random hex digits, drawn at the first call on a machine.

    Raises RecordError if they can't be saved.
    """
    path = cache / "machine-id"
    try:
        if not path.exists():
            _draw_id(path)
        known = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise RecordError(
            f"can't write {path}: {error.strerror}; set HARNESS_CACHE to a folder you may write to"
        ) from error
    if not re.fullmatch(r"[0-9a-f]{32}", known):
        raise RecordError(
            f"{path} does not hold 32 hex digits; delete it, then the next run draws a new one"
        )
    return known


def _draw_id(path: Path) -> None:
    """Write the file atomically; if two processes write at once, the first one's content stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = path.with_name(f"machine-id.{os.getpid()}")
    drawn.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
    with suppress(FileExistsError):
        path.hardlink_to(drawn)
    drawn.unlink()


def describe(
    results_root: Path, placement: Placement, *, cache: Path | None = None, nvml: Any = None
) -> Environment:
    """The present environment, for env.json.

    If the run uses CUDA, call it after CUDA has been initialised.
    """
    missing: dict[str, str] = {}
    visible, driver = gpus(
        missing, nvml, seconds=CPU_RUN_WAITS_S if placement.device.startswith("cpu") else None
    )
    disk = disk_free_mib(results_root)
    if disk is None:
        missing["disk_free_mib"] = "the free space of the results folder could not be read"
    return Environment(
        machine_id=machine_id(cache or cache_folder()),
        harness=__version__,
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
        os=_os(),
        cpu=cpu(),
        gpus=visible,
        used_gpus=tuple(gpu for device in placement.devices for gpu in used_gpus(device, missing)),
        driver=driver.driver,
        driver_cuda=driver.driver_cuda,
        nvml=driver.nvml,
        torch=torch_settings(missing),
        variables={name: os.environ.get(name) for name in VARIABLES},
        source=source(Path(__file__).resolve().parents[2], missing),
        placement=placement,
        disk_free_mib=disk,
        missing=missing,
    )


def version(package: str) -> str | None:
    """The installed version without importing it; None if it isn't installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _os() -> str:
    """Such as "Linux 6.1.0 x86_64, Debian GNU/Linux 12 (bookworm)"."""
    named = f"{platform.system()} {platform.release()} {platform.machine()}"
    try:
        return f"{named}, {platform.freedesktop_os_release()['PRETTY_NAME']}"
    except (OSError, KeyError):
        return named


def torch_settings(missing: dict[str, str]) -> TorchSettings | None:
    """torch's threads and settings that change speed or bits; None if torch isn't loaded, since loading
    takes seconds.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        missing["torch"] = "torch was not loaded"
        return None
    cuda = torch.cuda.is_available()
    if torch.version.cuda is None:
        missing["torch.cuda"] = "this build of torch is for the CPU only"
    if not cuda:
        missing["torch.cudnn"] = "CUDA is not available"
    return TorchSettings(
        threads=torch.get_num_threads(),
        interop_threads=torch.get_num_interop_threads(),
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version() if cuda else None,
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        cudnn_benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        matmul_tf32=torch.backends.cuda.matmul.allow_tf32,
        cudnn_tf32=torch.backends.cudnn.allow_tf32,
    )


def used_gpus(device: str, missing: dict[str, str]) -> tuple[UsedGpu, ...]:
    """The GPU of a device such as "cuda" or "cuda:1", as torch names it; none for the CPU."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return ()
    found = torch.cuda.get_device_properties(torch.device(device))
    uuid = getattr(found, "uuid", None)
    if uuid is None:
        missing["used_gpus.uuid"] = "this version of torch does not report it"
    return (UsedGpu(name=found.name, uuid=None if uuid is None else str(uuid)),)


def bench_key(env: Environment, spec: RunSpec, *, loader: str | None = None) -> dict[str, Any]:
    """Everything that must be equal before the speeds of two runs may be compared, except for the
    variant.

    loader: Summary.loader. Clocks, temperature and load are not part of the key. Fields that don't
    matter are null: `threads` and `cpu_capability` on a GPU, `driver` and `cudnn` on the CPU.
    """
    on_gpu, settings, used = spec.device == "cuda", env.torch, env.used_gpus
    key: dict[str, Any] = dict.fromkeys(
        ("device", "devices", "driver", "torch", "cudnn", "threads", "cpu_capability")
    )
    if not on_gpu:
        key |= {"device": env.cpu.model, "devices": env.cpu.cores_usable}
    elif used is not None:
        key |= {"device": ", ".join(sorted({gpu.name for gpu in used})), "devices": len(used)}
    if on_gpu:
        key |= {"driver": env.driver, "cudnn": None if settings is None else settings.cudnn}
    elif settings is not None:
        key |= {"threads": settings.threads, "cpu_capability": settings.cpu_capability}
    chosen = [
        name.replace("_", " ") for name in ("compile", "fused_update") if getattr(spec.recipe, name)
    ]
    chosen += [] if spec.recipe.deterministic else ["not deterministic"]
    chosen += [] if spec.recipe.order == "random" else [f"order {spec.recipe.order}"]
    if chosen:  # left out where there are none: lines of older reports stay as they are
        key["choices_for_speed"] = " and ".join(chosen)
    return key | {
        "torch": env.packages.get("torch"),
        "precision": spec.recipe.precision,
        "global_batch": spec.recipe.batch_size,
        "loader": loader,
        "data": f"{spec.data.name} {spec.data.store_format} {spec.data.store_size}",
        "input_size": spec.net.input_size,
        "runs_at_once": env.placement.concurrent,
        "ranks": spec.world_size if spec.world_size > 1 else None,
        "layout": spec.layout if spec.layout != "one_device" else None,
    }
