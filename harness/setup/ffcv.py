"""Installs FFCV, whose sdist pip alone can't build: `python -m harness.setup.ffcv [--check]
[--optional]`.

It tries three methods in order: an FFCV that is already installed; a build with the system's OpenCV and
libturbojpeg, found by pkg-config; a build with Debian packages, unpacked without root. It uses the
standard library only and imports neither numpy, torch nor FFCV, so that `doctor` can always call
`status()`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.setup import debian
from harness.setup.cache import cache_folder
from harness.setup.steps import SetupError, Steps
from harness.setup.wheels import self_contained

VERSION = "1.0.2"
# ffcv-1.0.2.tar.gz on PyPI
SDIST_SHA256 = "42766a487c8a659b543d070f24732c4b65aab8d96980f5792c63e91e55511f00"
# The dependency group `ffcv-needs` of pyproject.toml: the part of FFCV's requirements that it really
# uses.
NEEDS = ("numba>=0.61", "opencv-python-headless>=4.10", "tqdm>=4.66", "setuptools>=77")
IMPORTED = ("numpy", "torch", "numba", "cv2", "tqdm")
FIX = "python -m harness.setup.ffcv"
ADVICE = (
    "The folder loader (torch and PIL) does the same work, slower. To get FFCV: apt-get install g++ "
    f"pkg-config python3-dev libopencv-dev libturbojpeg0-dev, then {FIX}"
)

Say = Callable[[str], None]


def status() -> tuple[bool, str]:
    """Whether FFCV works here, and a sentence that says how it was built or why it doesn't work.

    Takes about 5 ms.
    """
    spec = importlib.util.find_spec("ffcv")
    if spec is None or not spec.origin:
        return False, f"ffcv is not installed; fix it with: {FIX}"
    folder = Path(spec.origin).parent
    version = importlib.metadata.version("ffcv")
    if missing := [name for name in IMPORTED if importlib.util.find_spec(name) is None]:
        return False, f"ffcv {version} lacks {', '.join(missing)}; fix it with: {FIX}"
    if reason := _library_fault(folder):
        return False, (
            f"ffcv {version} is installed but its C library does not load ({reason}); fix it with: "
            f"{FIX}"
        )
    bundled = all((folder / name).exists() for name in debian.BUNDLED)
    return True, (
        f"ffcv {version}, built against {'unpacked Debian packages' if bundled else 'system libraries'}"
    )


def install(say: Say, *, constraint: Path | None = None, cache: Path | None = None) -> str:
    """Install FFCV into this interpreter's environment. Raises SetupError, whose message says what to
    do instead.

    constraint: a pip constraints file. cache: where the built wheel and the log of a failed build are
    kept.
    """
    if _imports():
        return status()[1]
    folder = cache or cache_folder()
    with _building(folder, "installed") as steps:
        _refuse_hopeless(_kept_wheel(folder) is not None)
        say("installing FFCV's requirements: " + ", ".join(NEEDS))
        pip = _Pip(steps, constraint)
        pip.install("installing FFCV's requirements", *NEEDS)
        _build(pip, folder, say)
    return status()[1]


def self_contained_wheel(say: Say, *, cache: Path | None = None) -> Path:
    """FFCV with its C libraries as one wheel (1 MB) for every CPython 3 on machines with this
    processor. It is built from the sdist and Debian packages, or taken from the cache.

    Raises SetupError. It installs nothing.
    """
    folder = cache or cache_folder()
    if kept := _kept_wheel(folder):
        return kept
    with _building(folder, "built") as steps:
        _refuse_hopeless(built=False)
        return _build_self_contained(_Pip(steps, None), folder, say)


@contextmanager
def _building(folder: Path, wanted: str) -> Iterator[Steps]:
    """Makes the folder. The log of a failed build stays there, and the error says what to do instead."""
    steps = Steps(
        log=folder / "ffcv-build.log", environ={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        steps.log.unlink(missing_ok=True)
        yield steps
    except (SetupError, OSError) as error:
        where = f" The build's log is {steps.log}." if steps.log.exists() else ""
        raise SetupError(f"FFCV can't be {wanted} here: {error}.{where} {ADVICE}") from error
    steps.log.unlink(missing_ok=True)


class _Pip:
    """This interpreter's pip, under one constraints file."""

    def __init__(self, steps: Steps, constraint: Path | None) -> None:
        self.steps = steps
        self.limits = ["--constraint", str(constraint.absolute())] if constraint else []

    def install(self, what: str, *arguments: str) -> None:
        self.steps.run(what, [sys.executable, "-m", "pip", "install", *self.limits, *arguments])

    def wheel(self, what: str, into: Path, **environ: str) -> Path:
        """Build FFCV's sdist, checked by its sha256, into a wheel. pip's cache of wheels can't be
        used for this.
        """
        into.mkdir(exist_ok=True)
        wanted = into / "requirements.txt"
        wanted.write_text(f"ffcv=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
        flags = [
            "--no-deps",
            "--no-binary",
            "ffcv",
            "--no-build-isolation",
            "--no-cache-dir",
            "-w",
            str(into),
        ]
        command = [sys.executable, "-m", "pip", "wheel", "--require-hashes", *flags, "-r", str(wanted)]
        self.steps.run(what, command, environ=environ)
        return next(into.glob("ffcv-*.whl"))


def _build(pip: _Pip, folder: Path, say: Say) -> None:
    """Try a wheel built before, the system's headers, and unpacked packages, until FFCV can be
    imported.
    """
    ways = [_from_cache] if _kept_wheel(folder) else []
    for way in [*ways, _from_system, _from_debian]:
        try:
            way(pip, folder, say)
            _prove_import()
        except SetupError as error:
            last = error
            say(f"  {error}")
        else:
            return
    raise last


def _from_cache(pip: _Pip, folder: Path, say: Say) -> None:
    say("installing the FFCV wheel that was built on this machine before")
    kept = _kept_wheel(folder)
    assert kept is not None
    _put(pip, kept)


def _kept_wheel(folder: Path) -> Path | None:
    """The self-contained wheel that was built before, with the lowest demands, if there is one."""
    kept = folder.glob(f"wheels/ffcv-{VERSION}-py3-none-manylinux_*_{platform.machine()}.whl")
    return min(kept, default=None)


def _from_system(pip: _Pip, folder: Path, say: Say) -> None:
    if subprocess.run(
        ["pkg-config", "--exists", "opencv4", "libturbojpeg"], capture_output=True
    ).returncode:
        raise SetupError("pkg-config finds no opencv4 and libturbojpeg on this system")
    say("building FFCV against the system's OpenCV and libturbojpeg")
    with tempfile.TemporaryDirectory(dir=folder) as work:
        _put(pip, pip.wheel("building FFCV", Path(work)))


def _from_debian(pip: _Pip, folder: Path, say: Say) -> None:
    _put(pip, _build_self_contained(pip, folder, say))


def _build_self_contained(pip: _Pip, folder: Path, say: Say) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        say("downloading OpenCV's and libturbojpeg's Debian packages (4 MB, without root)")
        root = debian.unpack(work, pip.steps)
        shim = debian.pkg_config_folder(root, work)
        say("building FFCV against them (about 10 s)")
        built = pip.wheel(
            "building FFCV", work / "wheel", PKG_CONFIG_PATH=str(shim), **debian.BUILD_FLAGS
        )
        wheel = self_contained(built, debian.libraries(root))
        kept = folder / "wheels" / wheel.name
        kept.parent.mkdir(exist_ok=True)
        return wheel.replace(kept)


def _put(pip: _Pip, wheel: Path) -> None:
    pip.install("installing the built FFCV", "--no-deps", "--force-reinstall", "--no-index", str(wheel))


def _refuse_hopeless(built: bool) -> None:
    """Raise SetupError for problems that no method can fix. built: there is a wheel, so no compiler
    is needed.
    """
    if platform.system() != "Linux":
        raise SetupError(f"FFCV needs Linux and this is {platform.system()}")
    compiler = os.environ.get("CXX", "g++").split()[0]
    if not built and not (shutil.which(compiler) and shutil.which("pkg-config")):
        raise SetupError(f"FFCV must be compiled, which needs {compiler} and pkg-config")
    if importlib.util.find_spec("pip") is None:
        raise SetupError(f"this environment has no pip ({sys.executable} -m ensurepip)")


def _imports() -> bool:
    return status()[0] and not _import_fault()


def _prove_import() -> None:
    if fault := _import_fault():
        raise SetupError(f"the built FFCV can't be imported ({fault})")


def _import_fault() -> str:
    """Import FFCV in a new process without LD_LIBRARY_PATH.

    Returns the last line of its error; empty if it works.
    """
    importlib.invalidate_caches()
    environ = {name: text for name, text in os.environ.items() if name != "LD_LIBRARY_PATH"}
    command = [sys.executable, "-c", "import ffcv.loader, ffcv.libffcv"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def _library_fault(folder: Path) -> str:
    library = next(folder.glob("_libffcv*.so"), None)
    if library is None:
        return "it is missing"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=FIX, description="Install FFCV into this interpreter's environment."
    )
    parser.add_argument("--check", action="store_true", help="only print whether FFCV works here")
    parser.add_argument(
        "--optional", action="store_true", help="exit code 0 even if FFCV can't be installed"
    )
    parser.add_argument("--constraint", type=Path, metavar="FILE", help="a pip constraints file")
    asked = parser.parse_args(arguments)
    if asked.check:
        works, reason = status()
        print(reason)
        return 0 if works or asked.optional else 1
    try:
        print(install(lambda line: print(line, flush=True), constraint=asked.constraint))
    except SetupError as error:
        print(error)
        return 0 if asked.optional else error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
