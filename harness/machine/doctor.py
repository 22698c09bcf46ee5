"""The checks of `doctor`: what this machine has and lacks, and the command that fixes each problem.

Changes nothing.
"""

from __future__ import annotations

import importlib
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.errors import DataError
from harness.machine.collect_env import version
from harness.machine.hardware import cpu, disk_free_mib, gpus
from harness.setup import ffcv
from harness.setup.cache import cache_folder

# the default data set's source and .beton files, a study's records, and a reserve
DISK_NEEDED_MIB = 2048
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pandas", "pydantic", "psutil")
PREPARE = "python -m harness data prepare fashion_mnist"


@dataclass(frozen=True)
class Finding:
    """One check. state "absent": not here, not needed. "missing": not here, but needed; `fix` is a
    command that helps.
    """

    name: str
    state: Literal["ok", "absent", "missing"]
    detail: str
    fix: str | None = None


def examine(results: Path, *, nvml: Any = None) -> list[Finding]:
    """All findings, in the order of a set-up. nvml: a replacement of the module, for tests."""
    checks: tuple[Callable[[], Finding], ...] = (
        python,
        processor,
        libraries,
        torch,
        cuda,
        lambda: gpu_probe(nvml),
        loader,
        data,
        lambda: writable("results folder", results, "--results FOLDER, or make it writable"),
        lambda: writable("cache folder", cache_folder(), "export HARNESS_CACHE=FOLDER"),
        lambda: disk(cache_folder()),
    )
    return [check() for check in checks]


def python() -> Finding:
    """The Python version; always ok, since pip does not install the harness for an older Python."""
    return Finding("Python", "ok", platform.python_version())


def processor() -> Finding:
    """Cores and memory that this process may use."""
    found = cpu()
    gib = found.memory_mib / 1024
    return Finding(
        "CPU", "ok", f"{found.model}, {found.cores_usable} usable cores, {gib:.1f} GiB memory"
    )


def libraries() -> Finding:
    """The required Python packages."""
    gone = [name for name in LIBRARIES if version(name) is None]
    if gone:
        return Finding("libraries", "missing", f"not installed: {', '.join(gone)}", "pip install -e .")
    return Finding("libraries", "ok", ", ".join(f"{name} {version(name)}" for name in LIBRARIES[1:]))


def torch() -> Finding:
    """Whether torch can be imported."""
    try:
        found = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        said = str(error).splitlines()[0]
        return Finding(
            "torch", "missing", f"can't be imported: {said}", "pip install --force-reinstall torch"
        )
    return Finding("torch", "ok", f"{found.__version__}, {found.get_num_threads()} threads")


def cuda() -> Finding:
    """Whether torch can compute on a GPU."""
    try:
        found = importlib.import_module("torch").cuda
    except (ImportError, OSError):
        return Finding("CUDA", "absent", "unknown, since torch can't be imported")
    with warnings.catch_warnings(record=True) as warned:  # torch warns of an old driver
        warnings.simplefilter("always")
        there = found.is_available()
    if not there:
        why = f" ({str(warned[0].message).splitlines()[0]})" if warned else ""
        return Finding("CUDA", "absent", f"not available{why}; not needed: runs use the CPU")
    names = ", ".join(found.get_device_name(index) for index in range(found.device_count()))
    return Finding("CUDA", "ok", names)


def gpu_probe(nvml: Any = None) -> Finding:
    """Whether GPU telemetry can be read."""
    missing: dict[str, str] = {}
    found, _ = gpus(missing, nvml)
    if not found:
        return Finding(
            "NVML", "absent", f"not available ({missing['gpus']}); not needed: GPU fields stay null"
        )
    names = ", ".join(str(gpu.name) for gpu in found)
    unread = sorted({field for gpu in found for field in gpu.missing})
    return Finding("NVML", "ok", names + (f"; can't be read: {', '.join(unread)}" if unread else ""))


def loader() -> Finding:
    """FFCV, the default loader."""
    works, said = ffcv.status()
    if works:
        return Finding("FFCV", "ok", said)
    plain = said.partition("; fix it with")[0]
    return Finding(
        "FFCV", "absent", f"{plain}; not needed: the folder loader is used instead", ffcv.FIX
    )


def data() -> Finding:
    """Whether the default data set is prepared; if not, the first run downloads it."""
    from harness.data.prepare.manifest import load_manifest

    homes = sorted((cache_folder() / "data").glob("fashion_mnist-*"))
    ready, later = [], []
    for home in homes:
        try:
            ready += [home.name] if load_manifest(home) is not None else []
        except DataError as error:  # of a later version of this program
            later.append(f"{home.name}: {error}")
    if ready:
        return Finding(
            "data", "ok", "; ".join([f"fashion_mnist is prepared ({', '.join(ready)})", *later])
        )
    if later:
        return Finding(
            "data", "missing", "; ".join(later), "export HARNESS_CACHE=FOLDER, or update this program"
        )
    return Finding(
        "data",
        "absent",
        "fashion_mnist is not prepared; not needed: the first run downloads and prepares it",
        PREPARE,
    )


def writable(name: str, folder: Path, fix: str) -> Finding:
    """Try to write to the folder, or to the one in which it would be created."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        return Finding(name, "missing", f"{folder} is not writable: {error.strerror}", fix)
    return Finding(name, "ok", f"{folder} is writable")


def disk(folder: Path) -> Finding:
    """Whether there is enough disk space for the data and the records."""
    free = disk_free_mib(folder)
    if free is None:
        return Finding("disk", "absent", f"the free space on the disk of {folder} can't be read")
    detail = f"{free / 1024:.1f} GiB free on the disk of {folder}"
    if free < DISK_NEEDED_MIB:
        need = f"{DISK_NEEDED_MIB / 1024:.0f} GiB are needed for the default data set"
        return Finding(
            "disk", "missing", f"{detail}; {need}", "free some space, or export HARNESS_CACHE=FOLDER"
        )
    return Finding("disk", "ok", detail)


def lines(findings: list[Finding]) -> Iterator[str]:
    """The findings as text, one per line. The command that fixes a problem is on the next line."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        yield f"{finding.state:<8}{finding.name:<{width}}  {finding.detail}"
        if finding.fix is not None:
            yield f"{'':<8}{'':<{width}}  to fix: {finding.fix}"
