"""Gets FFCV's C libraries without root: downloads and unpacks Debian packages, and puts the libraries
into the wheel.

OpenCV is linked statically (only what FFCV calls). libturbojpeg and libtbb are copied into the wheel,
with an $ORIGIN rpath, since Debian's libturbojpeg.a is not position-independent. The wheel (1 MB) does
not need the unpacked folder.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from harness.setup.steps import SetupError, Steps

PACKAGES = (
    "libopencv-core-dev",
    "libopencv-imgproc-dev",
    "libturbojpeg0-dev",
    "libturbojpeg0",
    "libtbb12",
)
BUNDLED = ("libturbojpeg.so.0", "libtbb.so.12")
BUILD_FLAGS = {
    "CFLAGS": "-O2 -ffunction-sections",
    "LDFLAGS": "-Wl,--gc-sections -Wl,--exclude-libs,ALL -Wl,-rpath,$ORIGIN",
}

# FFCV includes all of OpenCV but calls cv::resize only. OpenCV's core needs one symbol of libGL, which
# is never called.
HEADER = """#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
extern "C" __attribute__((visibility("hidden"))) void *glXGetProcAddressARB(const unsigned char *) { return nullptr; }
"""
PC_FILE = (
    "Name: {name}\nDescription: unpacked {name}\nVersion: 0\nCflags: {cflags}\nLibs: -L{lib} {libs}\n"
)


def unpack(folder: Path, steps: Steps, packages: Sequence[str] | None = None) -> Path:
    """Download and unpack `packages` under `folder`; the root of the unpacked tree. Works without root.

    packages: what FFCV needs if left out.
    """
    packages = packages or [*PACKAGES, *_python_headers()]
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise SetupError(
            f"this system has no apt-get and dpkg-deb, which are needed to download {packages[0]}"
        )
    downloads, root = folder / "debs", folder / "root"
    downloads.mkdir(parents=True)
    download(packages, downloads, folder, steps)
    found = sorted(downloads.glob("*.deb"))
    if not found:
        raise SetupError(f"apt-get downloaded no {packages[0]}")
    for package in found:
        steps.run(f"unpacking {package.name}", ["dpkg-deb", "-x", str(package), str(root)])
    return root


def pkg_config_folder(root: Path, folder: Path) -> Path:
    """Write opencv4.pc and libturbojpeg.pc that point into the unpacked `root`; the folder for
    PKG_CONFIG_PATH.
    """
    include, lib = root / "usr/include", _library_folder(root)
    shim = folder / "shim"
    (shim / "opencv2").mkdir(parents=True)
    (shim / "opencv2/opencv.hpp").write_text(HEADER)
    headers = (
        f"-I{shim} -I{include}/opencv4 -I{include} -I{include}/python{sysconfig.get_python_version()}"
    )
    opencv = "-l:libopencv_imgproc.a -l:libopencv_core.a -l:libtbb.so.12"
    _write_pc(shim, "opencv4", headers, lib, opencv)
    _write_pc(shim, "libturbojpeg", f"-I{include}", lib, "-l:libturbojpeg.so.0")
    return shim


def libraries(root: Path) -> dict[str, bytes]:
    """What the wheel must hold of the unpacked tree, by its path there: the two shared libraries, and
    the licences of all that is linked.
    """
    lib, docs = _library_folder(root), root / "usr/share/doc"
    found = {f"ffcv/{name}": (lib / name).resolve().read_bytes() for name in BUNDLED}
    for package in PACKAGES:
        if (licence := docs / package / "copyright").exists():
            found[f"ffcv/licences/{package}.txt"] = licence.read_bytes()
    return found


def download(packages: Sequence[str], into: Path, folder: Path, steps: Steps) -> None:
    """Download packages by the system's package lists, or by lists of our own if those are empty or
    outdated.
    """
    try:
        steps.run(
            "apt-get download", ["apt-get", *_apt_options(folder), "download", *packages], cwd=into
        )
    except SetupError:
        (folder / "lists/partial").mkdir(parents=True)
        own = [*_apt_options(folder), "-o", f"Dir::State::Lists={folder / 'lists'}"]
        steps.run("apt-get update", ["apt-get", *own, "-o", "APT::Update::Error-Mode=any", "update"])
        steps.run("apt-get download", ["apt-get", *own, "download", *packages], cwd=into)


def _apt_options(folder: Path) -> list[str]:
    """Options that apt needs without root: a cache folder of our own, no system locks, no change of
    user.
    """
    (folder / "apt/archives/partial").mkdir(parents=True, exist_ok=True)
    return [
        "-o",
        f"Dir::Cache={folder / 'apt'}",
        "-o",
        "APT::Sandbox::User=",
        "-o",
        "Debug::NoLocking=1",
    ]


def _python_headers() -> list[str]:
    """The package with Python.h, if this interpreter lacks it (Debian's Python without python3-dev)."""
    here = Path(sysconfig.get_path("include")) / "Python.h"
    return [] if here.exists() else [f"libpython{sysconfig.get_python_version()}-dev"]


def _library_folder(root: Path) -> Path:
    """usr/lib/<multiarch triplet> of the unpacked tree."""
    found = sorted(root.glob("usr/lib/*/libopencv_core.a"))
    if not found:
        raise SetupError("this system's OpenCV packages have no static library to link")
    return found[0].parent


def _write_pc(folder: Path, name: str, cflags: str, lib: Path, libs: str) -> None:
    (folder / f"{name}.pc").write_text(PC_FILE.format(name=name, cflags=cflags, lib=lib, libs=libs))
