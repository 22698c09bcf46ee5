"""The machine that a bundle is for: its Python, its processor, and the packages that it has."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness.errors import UsageError
from harness.setup.steps import SetupError

LIST = "python -m pip list --format freeze"
# a bundle never holds these: each would fill it many times
REQUIRED = ("torch", "torchvision")
# what a machine with torch and torchvision has; without a list they are taken to be as new as here
ASSUMED = (*REQUIRED, "numpy", "pillow")
# FFCV imports cv2, which each of these packages holds
OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
# pip is asked for wheels of systems since 2018, such as Red Hat 8
GLIBC_MINOR = 28


@dataclass(frozen=True)
class Target:
    """A Linux machine with this machine's processor. `installed`: versions of packages by their
    canonical names. `ignored`: lines of the user's list that give no version.
    """

    python: str
    installed: Mapping[str, str]
    ignored: tuple[str, ...] = ()

    def needs(self, requirement: Requirement) -> bool:
        """Whether the requirement's marker, if it has one, is true on the target."""
        if requirement.marker is None:
            return True
        markers = {name: str(value) for name, value in default_environment().items()}
        markers |= {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "extra": "",
        }
        return requirement.marker.evaluate(markers)

    def lacking(
        self, requirements: Iterable[Requirement], bundled: Mapping[str, str]
    ) -> tuple[Requirement, ...]:
        """The requirements that neither the installed nor the bundled packages meet."""
        have = {**self.installed, **bundled}
        return tuple(
            wanted
            for wanted in requirements
            if self.needs(wanted) and not _meets(have.get(canonicalize_name(wanted.name)), wanted)
        )

    def without_old(
        self, requirements: Iterable[Requirement]
    ) -> tuple[Target, tuple[Requirement, ...]]:
        """This target without the packages that are too old for the requirements, and those that they
        do not meet. Raises UsageError for torch and torchvision.
        """
        lacking = self.lacking(requirements, {})
        names: dict[str, Requirement] = {canonicalize_name(wanted.name): wanted for wanted in lacking}
        for name in REQUIRED:
            if name in names:
                found = self.installed.get(name)
                has = f"has {name} {found}" if found else f"has no {name}"
                raise UsageError(
                    f"the target {has}, and {names[name]} must be installed there: it is too large for "
                    "a bundle"
                )
        kept = {name: version for name, version in self.installed.items() if name not in names}
        old = tuple(wanted for name, wanted in names.items() if name in self.installed)
        return replace(self, installed=kept), old

    def pip_options(self) -> list[str]:
        """Options with which pip downloads wheels for the target."""
        machine = platform.machine()
        tags = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 16, -1)]
        tags += [
            f"{tag}_{machine}" for tag in ("manylinux2014", "manylinux2010", "manylinux1", "linux")
        ]
        options = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", self.python]
        return options + [word for tag in tags for word in ("--platform", tag)]


def read_target(python: str | None, installed: Path | None) -> Target:
    """The target with that Python (this one's version if None) and the packages of the list (None:
    ASSUMED). Raises UsageError.
    """
    if platform.system() != "Linux":
        raise UsageError(
            "a bundle is for Linux machines with this processor; make it on such a machine"
        )
    python = python or ".".join(platform.python_version_tuple()[:2])
    if not re.fullmatch(r"3\.\d+", python):
        raise UsageError(f"--python must be a version such as 3.12, not '{python}'")
    if installed is None:
        return Target(python, {name: _version_here(name) for name in ASSUMED})
    return _read_list(python, installed)


def _read_list(python: str, path: Path) -> Target:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read ({error}); make it on the target: {LIST}") from error
    found: dict[str, str] = {}
    ignored: list[str] = []
    for line in lines:
        name, _, version = line.partition("==")
        try:
            Version(version)
        except InvalidVersion:
            ignored += [line] if line and not line.startswith("#") else []
        else:
            found[canonicalize_name(name)] = version
    if opencv := next((name for name in OPENCV if name in found), None):
        found.setdefault("opencv-python-headless", found[opencv])
    if not found:
        raise UsageError(f"{path} has no line such as torch==2.11.0; make it on the target: {LIST}")
    return Target(python, found, tuple(ignored))


def _version_here(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise SetupError(
            f"{name} is not installed here, so nothing is known of the target's; give --installed "
            f"FILE, made on the target: {LIST}"
        ) from None


def _meets(version: str | None, wanted: Requirement) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)
