"""A folder with the wheels that a machine with torch, but without network, needs to run the harness.

It holds the harness's own wheel, built from the checkout; FFCV with its C libraries as one wheel; the
wheels of all other requirements that the target lacks; install.sh, a README and checksums. pip chooses
the versions: for each package of the target it gets an empty wheel of that version as a constraint, so
that whatever it downloads fits to them.

FFCV's requirements are large (llvmlite for numba 60 MB, opencv-python-headless 61 MB), and none can be
left out: ffcv.libffcv imports numba, and `import ffcv` imports ffcv.fields.rgb_image, which imports cv2,
though only writing JPEG calls it.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from harness.errors import UsageError
from harness.setup import ffcv
from harness.setup.bundle_text import INSTALL, INSTALL_FFCV, README, README_FFCV, README_NO_FFCV
from harness.setup.steps import SetupError, Steps
from harness.setup.target import GLIBC_MINOR, Target
from harness.setup.wheels import read_metadata, write_empty_wheel

CHECKOUT = Path(__file__).parents[2]
SOURCES = ("harness", "variants", "pyproject.toml", "README.md", "LICENSE")
LIMIT_BYTES = 60_000_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """A package in the bundle."""

    name: str
    version: str
    bytes: int


def make(
    folder: Path, target: Target, steps: Steps, say: Say, *, with_ffcv: bool = True
) -> tuple[Part, ...]:
    """Write the bundle to `folder`, which must be new or empty; its packages, the largest first.

    The folder appears when all is in it. Raises UsageError and SetupError.
    """
    with _new_folder(folder) as work:
        say("building the wheel of the harness")
        own = [_build_harness(work / "sources", work / "own", steps)]
        requirements = _requirements(own[0], target, with_ffcv)
        target, old = target.without_old(requirements)
        for wanted in old:
            say(f"the target's {wanted.name} is too old ({wanted}); a newer one is put into the bundle")
        if with_ffcv:
            own.append(_ffcv_wheel(say))
        say("downloading the wheels that the target lacks")
        bundle = _download_all(requirements, target, work, steps)
        left_out = _left_out(bundle, target, requirements)
        own = [Path(shutil.copy(wheel, bundle)) for wheel in own]
        parts = _parts(bundle)
        _write_texts(bundle, own, parts, target.python, left_out)
        bundle.rename(folder)
    return parts


def size_sentence(parts: Sequence[Part]) -> str:
    """The size of the bundle, and which packages bring it above the limit (1 MB is 10^6 bytes)."""
    rest = sum(part.bytes for part in parts)
    limit = f"{LIMIT_BYTES / 1e6:.0f} MB"
    if rest <= LIMIT_BYTES:
        return f"The bundle has {rest / 1e6:.1f} MB, less than {limit}."
    total, large = rest, []
    for part in sorted(parts, key=lambda part: -part.bytes):
        if rest <= LIMIT_BYTES:
            break
        large.append(f"{part.name} ({part.bytes / 1e6:.1f})")
        rest -= part.bytes
    return (
        f"The bundle has {total / 1e6:.1f} MB, more than {limit}; without {', '.join(large)} it would "
        f"have {rest / 1e6:.1f} MB. What the target has already is left out with --installed FILE."
    )


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to work in, on the disk of `folder`; removed at the end."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; give the bundle a new one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.")
    except OSError as error:
        raise UsageError(
            f"{folder} can't be written ({error.strerror}); give the bundle another folder"
        ) from error
    with work as name:
        yield Path(name)


def _build_harness(sources: Path, into: Path, steps: Steps) -> Path:
    """Build the wheel of the harness from a copy of the checkout, since a build writes beside its
    sources.
    """
    if not (CHECKOUT / "pyproject.toml").exists():
        raise SetupError("a bundle is made from a clone of the project; this harness is no clone")
    sources.mkdir()
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, sources / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, sources)
    flags = ["--no-deps", "--wheel-dir", str(into)]
    command = [sys.executable, "-m", "pip", "wheel", *flags, str(sources)]
    steps.run("building the wheel of the harness", command)
    return next(into.glob("alexnet_harness-*.whl"))


def _ffcv_wheel(say: Say) -> Path:
    try:
        return ffcv.self_contained_wheel(say)
    except SetupError as error:
        raise SetupError(f"{error}; or make the bundle without FFCV: --no-ffcv") from error


def _requirements(harness: Path, target: Target, with_ffcv: bool) -> list[Requirement]:
    """What the harness requires on the target, by its wheel, and what FFCV really uses."""
    metadata = read_metadata(harness)
    if not SpecifierSet(metadata["Requires-Python"]).contains(f"{target.python}.0"):
        raise UsageError(f"the harness needs Python {metadata['Requires-Python']}, not {target.python}")
    wanted = [*_required_by(harness), *map(Requirement, ffcv.NEEDS if with_ffcv else ())]
    return [requirement for requirement in wanted if target.needs(requirement)]


def _required_by(wheel: Path) -> list[Requirement]:
    return [Requirement(line) for line in read_metadata(wheel).get_all("Requires-Dist", [])]


def _download_all(
    requirements: Sequence[Requirement], target: Target, work: Path, steps: Steps
) -> Path:
    """Download until all that the downloaded wheels require is there; the folder.

    pip reads the markers of requirements (`python_version < "3.12"`) for the Python that it runs in,
    not for the target's, so one download may not be enough.
    """
    empty = work / "installed"
    empty.mkdir()
    stand_ins = [write_empty_wheel(empty, *package) for package in target.installed.items()]
    constraints = work / "constraints.txt"
    constraints.write_text(
        "".join(
            f"{name} @ {wheel.absolute().as_uri()}\n"
            for name, wheel in zip(target.installed, stand_ins, strict=True)
        )
    )
    into, wanted = work / "bundle", [str(requirement) for requirement in requirements]
    while True:
        into.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--dest", str(into), *target.pip_options()]
        try:
            steps.run("pip download", [*command, "--constraint", str(constraints), *wanted])
        except SetupError as error:
            raise SetupError(
                f"{error}. The log is {steps.log}. If a package of the target is too old for the "
                "others, leave its line out of the list: then a newer one is put into the bundle"
            ) from error
        for wheel in stand_ins:
            (into / wheel.name).unlink(missing_ok=True)
        bundled = {part.name: part.version for part in _parts(into)}
        lacking = target.lacking(_all_required(into, requirements), bundled)
        if not lacking:
            return into
        new = sorted({f"{requirement.name}{requirement.specifier}" for requirement in lacking})
        assert not {*new} <= {*wanted}, f"pip left out what it was asked for: {new}"
        wanted += new
        shutil.rmtree(into)


def _all_required(wheels: Path, requirements: Sequence[Requirement]) -> list[Requirement]:
    """The requirements of the harness and of all wheels in the folder."""
    return [*requirements, *(line for wheel in wheels.iterdir() for line in _required_by(wheel))]


def _left_out(wheels: Path, target: Target, requirements: Sequence[Requirement]) -> list[str]:
    """The packages, with versions, that are required and that the target has."""
    required = filter(target.needs, _all_required(wheels, requirements))
    names = {canonicalize_name(wanted.name) for wanted in required} & target.installed.keys()
    return [f"{name} {target.installed[name]}" for name in sorted(names)]


def _parts(wheels: Path) -> tuple[Part, ...]:
    found = []
    for wheel in wheels.iterdir():
        metadata = read_metadata(wheel)
        name = canonicalize_name(metadata["Name"])
        found.append(Part(name, metadata["Version"], wheel.stat().st_size))
    return tuple(sorted(found, key=lambda part: (-part.bytes, part.name)))


def _write_texts(
    bundle: Path, own: Sequence[Path], parts: Sequence[Part], python: str, left_out: Sequence[str]
) -> None:
    """Write install.sh, README.md and SHA256SUMS. own: the wheel of the harness, and FFCV's if it is
    there.
    """
    harness, *fast = own
    needs = {canonicalize_name(Requirement(line).name) for line in ffcv.NEEDS} if fast else set()
    wanted = ["alexnet-harness", *sorted(part.name for part in parts if part.name in needs)]
    set_up_ffcv = "".join(INSTALL_FFCV.format(wheel=wheel.name) for wheel in fast)
    install = INSTALL.format(
        python=python, harness=harness.name, wanted=" ".join(wanted), ffcv=set_up_ffcv
    )
    (bundle / "install.sh").write_text(install)
    glibc = max([GLIBC_MINOR, *(int(wheel.name.split("_")[2]) for wheel in fast)])
    rows = [f"| {part.name} | {part.version} | {part.bytes / 1e6:.2f} |" for part in parts]
    readme = README.format(
        version=read_metadata(harness)["Version"],
        python=python,
        machine=platform.machine(),
        glibc=glibc,
        left_out=", ".join(left_out),
        ffcv=README_FFCV if fast else README_NO_FFCV,
        rows="\n".join(rows),
    )
    (bundle / "README.md").write_text(readme)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(bundle.iterdir())
    ]
    (bundle / "SHA256SUMS").write_text("".join(sums))
