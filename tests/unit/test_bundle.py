"""The bundle for a machine without network: what is in it and what is left out, with a stand-in for pip."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pytest
from packaging.requirements import Requirement

from harness.cli import bundle as command
from harness.errors import UsageError
from harness.setup import bundle, ffcv
from harness.setup.bundle import Part, make, size_sentence
from harness.setup.steps import SetupError
from harness.setup.target import Target, read_target

FFCV = f"ffcv-1.0.2-py3-none-manylinux_2_34_{platform.machine()}.whl"
HARNESS = [
    "torch>=2.11",
    "torchvision>=0.26",
    "scipy>=1.14",
    "typer>=0.19",
    'ffcv>=1.0.2; extra == "ffcv"',
]
# what the stand-in for an index has: version and requirements
INDEX = {
    "scipy": ("1.17", ["numpy>=1.26"]),
    "typer": ("0.29", ["click>=8"]),
    "click": ("8.5", ['oldname>=2; python_version < "3.10"', 'newname>=2; python_version >= "3.99"']),
    "newname": ("2.1", []),
    "oldname": ("2.0", []),
    "numpy": ("2.4", []),
    "numba": ("0.68", ["llvmlite", "numpy"]),
    "llvmlite": ("0.50", []),
    "opencv-python-headless": ("5.0", ["numpy"]),
    "tqdm": ("4.70", []),
    "setuptools": ("84.0", []),
}
TORCH = {"torch": "2.11.0+cu130", "torchvision": "0.26.0"}


def write_wheel(folder: Path, name: str, version: str, requires: list[str], file: str = "") -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    lines = [f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.11"]
    with zipfile.ZipFile(folder / (file or f"{stem}-py3-none-any.whl"), "w") as archive:
        text = "\n".join([*lines, *(f"Requires-Dist: {line}" for line in requires)])
        archive.writestr(f"{stem}.dist-info/METADATA", text)


@dataclass
class Pip:
    """Stands in for the steps that call pip: builds the harness's wheel, and downloads from INDEX.

    As pip does, it reads markers for this Python, and saves what a constraint gives, too.
    """

    log: Path
    downloads: list[list[str]] = field(default_factory=list)
    fails: str = ""

    def run(self, what: str, command: list[str]) -> None:
        if "wheel" in command:
            folder = Path(command[command.index("--wheel-dir") + 1])
            folder.mkdir()
            write_wheel(folder, "alexnet-harness", "0.1.0", HARNESS)
            return
        if self.fails:
            raise SetupError(f"{what} failed: {self.fails}")
        limits = Path(command[command.index("--constraint") + 1]).read_text().splitlines()
        wanted = command[command.index("--constraint") + 2 :]
        self.downloads.append(wanted)
        given = dict(line.split(" @ ") for line in limits)
        self.get(wanted, given, Path(command[command.index("--dest") + 1]))

    def get(self, wanted: list[str], given: dict[str, str], into: Path) -> None:
        for requirement in map(Requirement, wanted):
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            if requirement.name in given:
                path = Path(unquote(given[requirement.name].removeprefix("file://")))
                (into / path.name).write_bytes(path.read_bytes())
            else:
                version, requires = INDEX[requirement.name]
                write_wheel(into, requirement.name, version, requires)
                self.get(requires, given, into)


@pytest.fixture
def pip(tmp_path: Path) -> Pip:
    return Pip(tmp_path / "log")


@pytest.fixture(autouse=True)
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFCV's wheel, as if it had been built, and a small checkout."""
    write_wheel(tmp_path, "ffcv", "1.0.2", ["assertpy"], FFCV)
    monkeypatch.setattr(ffcv, "self_contained_wheel", lambda say: tmp_path / FFCV)
    (tmp_path / "checkout").mkdir()
    for name in bundle.SOURCES:
        (tmp_path / "checkout" / name).touch()
    monkeypatch.setattr(bundle, "CHECKOUT", tmp_path / "checkout")


def names(parts: tuple[Part, ...]) -> set[str]:
    return {part.name for part in parts}


def test_without_a_list_all_but_torch_torchvision_numpy_and_pillow_is_in_it(
    tmp_path: Path, pip: Pip
) -> None:
    parts = make(tmp_path / "new/bundle", read_target(None, None), pip, print)
    assert names(parts) == {"alexnet-harness", "ffcv", *INDEX} - {"numpy", "oldname", "newname"}
    files = {path.name for path in (tmp_path / "new/bundle").iterdir()}
    assert len(files) == len(parts) + len(("install.sh", "README.md", "SHA256SUMS"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bundle"]


def test_what_the_target_has_is_left_out(tmp_path: Path, pip: Pip) -> None:
    has = {
        **TORCH,
        "numba": "0.62rc1",
        "opencv-python-headless": "4.10",
        "numpy": "2.1",
        "scipy": "1.15",
    }
    parts = make(tmp_path / "bundle", Target("3.12", has), pip, print)
    assert names(parts) == {"alexnet-harness", "ffcv", "typer", "click", "tqdm", "setuptools"}
    readme = (tmp_path / "bundle/README.md").read_text()
    left_out = "numba 0.62rc1, numpy 2.1, opencv-python-headless 4.10, scipy 1.15, torch 2.11.0+cu130, torchvision"
    assert left_out not in readme  # no wheel in this bundle requires numpy
    assert left_out.replace("numpy 2.1, ", "") in readme
    assert "glibc 2.34 or newer" in readme


def test_a_package_that_is_too_old_is_put_in_and_named(tmp_path: Path, pip: Pip) -> None:
    said: list[str] = []
    target = Target("3.12", {**TORCH, "scipy": "1.9", "numpy": "2.1"})
    parts = make(tmp_path / "bundle", target, pip, said.append)
    assert "scipy" in names(parts)
    assert "numpy" not in names(parts)
    assert "the target's scipy is too old (scipy>=1.14); a newer one is put into the bundle" in said


def test_without_ffcv_none_of_its_requirements_is_in_it(tmp_path: Path, pip: Pip) -> None:
    parts = make(tmp_path / "bundle", Target("3.12", TORCH), pip, print, with_ffcv=False)
    assert names(parts) == {"alexnet-harness", "scipy", "numpy", "typer", "click"}
    assert "folder loader" in (tmp_path / "bundle/README.md").read_text()
    assert "ffcv" not in (tmp_path / "bundle/install.sh").read_text()


def test_what_only_the_targets_python_requires_is_downloaded_too(tmp_path: Path, pip: Pip) -> None:
    target = Target("3.99", {**TORCH, "numpy": "2.1"})
    assert "newname" in names(make(tmp_path / "bundle", target, pip, print))
    assert [wanted[-1] for wanted in pip.downloads] == ["setuptools>=77", "newname>=2"]


@pytest.mark.parametrize(
    ("has", "said"),
    [
        ({"numpy": "2.1"}, r"the target has no torch, and torch>=2.11 must be installed there"),
        ({**TORCH, "torch": "2.4"}, r"the target has torch 2.4, and torch>=2.11 must be installed"),
        ({"torch": "2.11"}, r"the target has no torchvision"),
    ],
)
def test_torch_and_torchvision_must_be_on_the_target(
    tmp_path: Path, pip: Pip, has: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make(tmp_path / "bundle", Target("3.12", has), pip, print)
    assert not pip.downloads


def test_a_python_that_the_harness_does_not_support_is_refused(tmp_path: Path, pip: Pip) -> None:
    with pytest.raises(UsageError, match=r"the harness needs Python >=3.11, not 3.9"):
        make(tmp_path / "bundle", Target("3.9", TORCH), pip, print)


def test_a_folder_that_can_not_be_written_or_is_not_empty_is_refused_first(
    tmp_path: Path, pip: Pip
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"can't be written \(.*\); give the bundle another folder"):
        make(tmp_path / "file/bundle", Target("3.12", TORCH), pip, print)
    with pytest.raises(UsageError, match="is not an empty folder"):
        make(tmp_path, Target("3.12", TORCH), pip, print)
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", Target("3.12", TORCH), pip, print)


def test_a_failed_download_says_what_to_do_and_leaves_nothing(tmp_path: Path, pip: Pip) -> None:
    pip.fails = "ERROR: ResolutionImpossible"
    with pytest.raises(SetupError, match=r"ResolutionImpossible.* leave its line out of the list"):
        make(tmp_path / "out/bundle", Target("3.12", TORCH), pip, print)
    assert not list((tmp_path / "out").iterdir())


def test_without_a_compiler_the_error_names_the_option_that_leaves_ffcv_out(
    tmp_path: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(say: object) -> Path:
        raise SetupError("FFCV must be compiled, which needs g++ and pkg-config")

    monkeypatch.setattr(ffcv, "self_contained_wheel", fails)
    with pytest.raises(SetupError, match=r"needs g\+\+ and pkg-config; or .* without FFCV: --no-ffcv"):
        make(tmp_path / "bundle", Target("3.12", TORCH), pip, print)


def test_an_installed_harness_can_not_build_its_wheel(tmp_path: Path, pip: Pip) -> None:
    (tmp_path / "checkout/pyproject.toml").unlink()
    with pytest.raises(SetupError, match="made from a clone of the project"):
        make(tmp_path / "bundle", Target("3.12", TORCH), pip, print)


def test_the_checksums_are_those_of_all_files(tmp_path: Path, pip: Pip) -> None:
    make(tmp_path / "bundle", Target("3.12", TORCH), pip, print)
    lines = (tmp_path / "bundle/SHA256SUMS").read_text().splitlines()
    files = {path.name: path for path in (tmp_path / "bundle").iterdir() if path.name != "SHA256SUMS"}
    assert {line.partition("  ")[2] for line in lines} == set(files)
    for line in lines:
        checksum, _, name = line.partition("  ")
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == checksum


def install(folder: Path, python: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", f"{folder.name}/install.sh", "--user"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": str(python)}
    return subprocess.run(command, cwd=folder.parent, env=environ, capture_output=True, text=True)


def test_install_calls_pip_without_an_index_and_names_only_what_is_there(
    tmp_path: Path, pip: Pip
) -> None:
    has = {**TORCH, "numba": "0.68", "numpy": "2.4", "opencv-python-headless": "5"}
    make(tmp_path / "my bundle", Target("3.12", has), pip, print)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    python.chmod(0o755)
    assert install(tmp_path / "my bundle", python).stderr == ""
    flags = "-m pip install --no-index"
    fresh = "--no-deps --force-reinstall --user my bundle"
    assert (tmp_path / "told").read_text().splitlines()[2:] == [
        f"{flags} {fresh}/alexnet_harness-0.1.0-py3-none-any.whl",
        f"{flags} --find-links my bundle --user alexnet-harness setuptools tqdm",
        f"{flags} {fresh}/{FFCV}",
        "-m harness doctor",
    ]
    (tmp_path / "my bundle/README.md").write_text("changed")
    assert "README.md: FAILED" in install(tmp_path / "my bundle", python).stdout


def test_install_refuses_another_python(tmp_path: Path, pip: Pip) -> None:
    make(tmp_path / "bundle", Target("3.99", TORCH), pip, print)
    done = install(tmp_path / "bundle", Path(sys.executable))
    assert done.returncode == 1
    assert done.stderr.startswith("this bundle is for Python 3.99, and this is Python 3.")


def test_the_size_sentence_names_the_packages_that_bring_it_above_the_limit() -> None:
    small = [Part(f"p{number}", "1", 1_000_000) for number in range(20)]
    assert (
        size_sentence([*small, Part("x", "1", 40_000_000)])
        == "The bundle has 60.0 MB, less than 60 MB."
    )
    said = size_sentence([*small, Part("llvmlite", "1", 59_700_000), Part("cv", "1", 61_200_000)])
    assert said.startswith(
        "The bundle has 140.9 MB, more than 60 MB; without cv (61.2), llvmlite (59.7) it would have "
        "20.0 MB. What the target has"
    )


def test_the_list_may_be_of_pip_freeze(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(
        "# made by hand\nTorch==2.11.0+cu130\nopencv_contrib_python==4.12\n\n-e git+https://x/y#egg=z\n"
        "numpy @ file:///croot/numpy/work\nodd==not-a-version\n"
    )
    target = read_target("3.12", listed)
    assert target.installed == {
        "torch": "2.11.0+cu130", "opencv-contrib-python": "4.12", "opencv-python-headless": "4.12",
    }  # fmt: skip
    assert target.ignored == (
        "-e git+https://x/y#egg=z", "numpy @ file:///croot/numpy/work", "odd==not-a-version",
    )  # fmt: skip


def test_a_list_or_a_version_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("numpy\n")
    with pytest.raises(UsageError, match=r"no line such as torch==2.11.0; .* pip list --format freeze"):
        read_target(None, tmp_path / "list.txt")
    with pytest.raises(UsageError, match=r"none can't be read .* pip list --format freeze"):
        read_target(None, tmp_path / "none")
    with pytest.raises(UsageError, match=r"must be a version such as 3.12, not '3.12.1'"):
        read_target("3.12.1", None)


def test_pip_is_asked_for_wheels_of_the_targets_python_and_of_older_systems() -> None:
    options = Target("3.13", TORCH).pip_options()
    assert options[options.index("--python-version") + 1] == "3.13"
    assert f"manylinux_2_28_{platform.machine()}" in options
    assert f"manylinux_2_29_{platform.machine()}" not in options


def test_the_command_prints_what_is_in_it_the_size_and_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bundle, "make", lambda *_, **__: (Part("scipy", "1.17", 61_000_000),))
    listed = tmp_path / "list.txt"
    listed.write_text("torch==2.11.0\nnumpy @ file:///x\n")
    command.bundle(tmp_path / "bundle", installed=listed, python="3.12")
    first, *_, size, last = capsys.readouterr().out.splitlines()
    assert first.startswith("ignored, since no version is given: numpy @ file:///x;")
    assert "without scipy (61.0) it would have 0.0 MB" in size
    assert last.endswith("sh bundle/install.sh")
