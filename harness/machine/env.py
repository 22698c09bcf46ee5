"""Where a run happened: versions, processor, GPUs, threads, commit: what changes speed or last bits, nothing private.

No host name, user name or path is recorded. `machine_id` is a random number kept in the cache folder, so that two
machines made from one image differ, and one machine stays itself.
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

from harness import __version__
from harness.errors import RecordError
from harness.machine.git_state import source
from harness.machine.hardware import cpu, disk_free_mib, gpus, usable_cores
from harness.setup.cache import cache_folder
from harness.spec import RunSpec

__all__ = ["bench_key", "describe", "machine_id", "usable_cores"]
PACKAGES = ("torch", "torchvision", "timm", "ffcv", "numpy", "numba", "nvidia-ml-py", "pandas", "scipy")
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
             "CUBLAS_WORKSPACE_CONFIG", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA",
             "PYTORCH_CUDA_ALLOC_CONF", "NUMBA_NUM_THREADS")  # fmt: skip


def machine_id(cache: Path) -> str:
    """32 hex digits, drawn at the first call on a machine. Raises RecordError where it can't be kept."""
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
        raise RecordError(f"{path} does not hold 32 hex digits; delete it, and a new one is drawn")
    return known


def _draw_id(path: Path) -> None:
    """Whole or not there, and the first of two processes wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = path.with_name(f"machine-id.{os.getpid()}")
    drawn.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
    with suppress(FileExistsError):
        path.hardlink_to(drawn)
    drawn.unlink()


def describe(results_root: Path, *, cache: Path | None = None, nvml: Any = None) -> dict[str, Any]:
    """env.json. Fields and units: results/README.md. A null field has its reason in `missing`."""
    missing: dict[str, str] = {}
    devices = gpus(missing, nvml)
    return {
        "machine_id": machine_id(cache or cache_folder()),
        "harness": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "os": _os(),
        "cpu": cpu(),
        **devices,
        "torch": torch_settings(missing),
        "variables": {name: os.environ.get(name) for name in VARIABLES},
        "source": source(Path(__file__).resolve().parents[1], missing),
        "disk_free_mib": disk_free_mib(results_root),
        "missing": missing,
    }


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


def torch_settings(missing: dict[str, str]) -> dict[str, Any] | None:
    """Threads and switches that change speed or bits; None where torch isn't loaded, since loading it costs seconds."""
    torch = sys.modules.get("torch")
    if torch is None:
        missing["torch"] = "torch was not in use"
        return None
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def bench_key(
    env: dict[str, Any], spec: RunSpec, *, loader: str | None = None, layout: str | None = None
) -> dict[str, Any]:
    """What must be equal before two speeds may be compared; the variant is what is compared, so it isn't in it.

    loader: Summary.loader. layout: "channels_last" or "contiguous". Clocks, heat and load are context, not key.
    """
    settings, cpu_found = env.get("torch") or {}, env.get("cpu") or {}
    on_gpu = spec.device == "cuda"
    names = [gpu.get("name") for gpu in env.get("gpus") or []]
    return {
        "device": ", ".join(sorted({str(name) for name in names})) if on_gpu else cpu_found.get("model"),
        "devices": spec.world_size if on_gpu else cpu_found.get("cores_usable"),
        "driver_major": str(env.get("driver") or "").split(".")[0] or None if on_gpu else None,
        "torch": (env.get("packages") or {}).get("torch"),
        "cudnn": settings.get("cudnn") if on_gpu else None,
        "threads": None if on_gpu else settings.get("threads"),
        "cpu_capability": None if on_gpu else settings.get("cpu_capability"),
        "precision": spec.recipe.precision,
        "layout": layout,
        "global_batch": spec.recipe.batch_size,
        "loader": loader,
        "data": f"{spec.data.name} {spec.data.store_format} {spec.data.store_size}",
        "input_size": spec.net.input_size,
    }
