"""Installing FFCV: what needs no network, with stand-ins for apt-get and dpkg-deb. nox shows the build itself."""

import base64
import hashlib
import importlib.machinery
import platform
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from harness.setup import debian, ffcv, wheels
from harness.setup.cache import cache_folder
from harness.setup.steps import SetupError, Steps


@pytest.fixture
def steps(tmp_path):
    return Steps(log=tmp_path / "log", environ={"PATH": "/usr/bin:/bin"})


def program(folder, name, script):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_cache_is_the_harnesss_then_xdgs_then_the_homes(monkeypatch, tmp_path):
    assert cache_folder({"HARNESS_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"HARNESS_CACHE": "", "XDG_CACHE_HOME": "/b"}) == Path("/b/alexnet-harness")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder({}) == tmp_path / ".cache/alexnet-harness"


def test_what_ffcv_needs_is_said_once_more_in_pyproject_and_the_same():
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert list(ffcv.NEEDS) == pyproject["dependency-groups"]["ffcv-needs"]


def test_asking_for_the_status_loads_nothing_heavy():
    heavy = "{'numpy', 'torch', 'numba', 'ffcv'}"
    code = f"import sys, harness.setup.ffcv as s; s.status(); print({heavy} & {{*sys.modules}})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    )


def test_without_ffcv_the_status_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert ffcv.status() == (False, "ffcv is not installed; fix it with: python -m harness.setup.ffcv")


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """A package ffcv whose C library does not load."""
    (tmp_path / "_libffcv.so").write_text("no library")
    spec = importlib.machinery.ModuleSpec("ffcv", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    monkeypatch.setattr("importlib.metadata.version", lambda _name: "1.0.2")
    return tmp_path


def test_a_library_that_does_not_load_is_reported_with_its_reason(installed):
    works, reason = ffcv.status()
    assert not works
    assert reason.startswith("ffcv 1.0.2 is installed but its C library does not load (")
    assert "too short" in reason or "invalid ELF" in reason
    (installed / "_libffcv.so").unlink()
    assert "does not load (it is missing)" in ffcv.status()[1]


def test_the_status_says_how_ffcv_was_built(installed, monkeypatch):
    monkeypatch.setattr(ffcv, "_library_fault", lambda _folder: "")
    assert ffcv.status() == (True, "ffcv 1.0.2, built against system libraries")
    for name in debian.BUNDLED:
        (installed / name).touch()
    assert ffcv.status() == (True, "ffcv 1.0.2, built against unpacked Debian packages")


def test_a_failed_step_says_its_most_telling_line_and_keeps_the_rest_in_the_log(steps):
    script = (
        "echo making; echo 'x.cpp:1:9: error: no such file' >&2; echo 'ERROR: no wheel'; echo a note "
        "on errors; exit 3"
    )
    with pytest.raises(SetupError, match=r"^building failed: x\.cpp:1:9: error: no such file$"):
        steps.run("building", ["sh", "-c", script])
    with pytest.raises(SetupError, match=r"^looking failed: E: Unable to locate package x$"):
        steps.run(
            "looking",
            ["sh", "-c", "echo 'E: Unable to locate package x'; echo a note on errors; exit 3"],
        )
    assert "making" in steps.log.read_text()
    with pytest.raises(SetupError, match="failed: exit code 3"):
        steps.run("building", ["sh", "-c", "exit 3"])
    with pytest.raises(SetupError, match="no-such-program can't be run"):
        steps.run("building", ["no-such-program"])


def test_with_empty_package_lists_own_ones_are_fetched_without_locks_or_a_change_of_user(
    tmp_path, monkeypatch
):
    bin_ = tmp_path / "bin"
    told = tmp_path / "told"
    program(
        bin_,
        "apt-get",
        f'echo "$@" >> {told}; case "$*" in *State::Lists*update);; *State::Lists*) touch a.deb;; *) exit 100;; esac',
    )
    program(
        bin_, "dpkg-deb", "mkdir -p $3/usr/lib/triplet && touch $3/usr/lib/triplet/libopencv_core.a"
    )
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    steps = Steps(log=tmp_path / "log", environ={"PATH": f"{bin_}:/usr/bin:/bin"})
    root = debian.unpack(tmp_path / "work", steps)
    first, update, again = told.read_text().splitlines()
    assert "State::Lists" not in first
    assert update.endswith("update")
    assert again.endswith("download " + " ".join([*debian.PACKAGES, *debian._python_headers()]))
    assert all(
        "-o APT::Sandbox::User= -o Debug::NoLocking=1" in line for line in (first, update, again)
    )
    assert (root / "usr/lib/triplet/libopencv_core.a").exists()


def test_a_system_without_apt_is_told(tmp_path, steps, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="no apt-get and dpkg-deb"):
        debian.unpack(tmp_path / "work", steps)


def test_pkg_config_is_pointed_at_the_unpacked_libraries(tmp_path):
    lib = tmp_path / "root/usr/lib/triplet"
    lib.mkdir(parents=True)
    with pytest.raises(SetupError, match="no static library"):
        debian.pkg_config_folder(tmp_path / "root", tmp_path / "none")
    (lib / "libopencv_core.a").touch()
    shim = debian.pkg_config_folder(tmp_path / "root", tmp_path)
    assert (
        f"-L{lib} -l:libopencv_imgproc.a -l:libopencv_core.a -l:libtbb.so.12"
        in (shim / "opencv4.pc").read_text()
    )
    assert f"-L{lib} -l:libturbojpeg.so.0" in (shim / "libturbojpeg.pc").read_text()
    assert f"-I{shim}" in (shim / "opencv4.pc").read_text()
    assert "imgproc" in (shim / "opencv2/opencv.hpp").read_text()


def test_the_wheel_carries_its_libraries_and_their_licences_for_every_python(tmp_path):
    lib, docs = tmp_path / "root/usr/lib/triplet", tmp_path / "root/usr/share/doc/libtbb12"
    lib.mkdir(parents=True)
    docs.mkdir(parents=True)
    (docs / "copyright").write_text("Apache-2.0")
    for name in (*debian.BUNDLED, "libopencv_core.a"):
        (lib / name).write_bytes(name.encode() + b" GLIBC_2.34 GLIBC_2.9 GLIBC_PRIVATE")
    built = tmp_path / "ffcv-1.0.2-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(built, "w") as made:
        made.writestr("ffcv/__init__.py", "")
        made.writestr("ffcv/_libffcv.cpython-311-x86_64-linux-gnu.so", "GLIBC_2.17")
        made.writestr("ffcv-1.0.2.dist-info/WHEEL", "Tag: cp311-cp311-linux_x86_64\n")
        made.writestr("ffcv-1.0.2.dist-info/RECORD", "ffcv/__init__.py,,\n")
    wheel = wheels.self_contained(built, debian.libraries(tmp_path / "root"))
    tag = f"py3-none-manylinux_2_34_{platform.machine()}"
    assert wheel.name == f"ffcv-1.0.2-{tag}.whl"
    with zipfile.ZipFile(wheel) as made:
        assert made.testzip() is None
        assert f"Tag: {tag}\n" in made.read("ffcv-1.0.2.dist-info/WHEEL").decode()
        assert made.read("ffcv/licences/libtbb12.txt") == b"Apache-2.0"
        record = made.read("ffcv-1.0.2.dist-info/RECORD").decode().splitlines()
        assert {line.split(",")[0] for line in record} == set(made.namelist())
    assert "ffcv/_libffcv.abi3.so" in "".join(record)
    body = b"libtbb.so.12 GLIBC_2.34 GLIBC_2.9 GLIBC_PRIVATE"
    checksum = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
    assert f"ffcv/libtbb.so.12,sha256={checksum},{len(body)}" in record


@pytest.fixture
def missing(monkeypatch, tmp_path):
    monkeypatch.setattr(ffcv, "_imports", lambda: False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))


@pytest.mark.usefixtures("missing")
def test_if_ffcv_can_not_be_installed_one_sentence_says_why_and_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert ffcv.main([]) == 1
    said = capsys.readouterr().out
    assert said.startswith(
        "FFCV can't be installed here: FFCV needs Linux and this is Darwin. The folder loader"
    )
    assert "apt-get install g++" in said
    assert ffcv.main(["--optional"]) == 0


@pytest.mark.usefixtures("missing")
def test_without_a_compiler_nothing_is_tried(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"must be compiled, which needs g\+\+ and pkg-config"):
        ffcv.install(print)


def test_a_self_contained_wheel_needs_a_compiler_unless_it_was_built_before(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"FFCV can't be built here: .* needs g\+\+ and pkg-config"):
        ffcv.self_contained_wheel(print, cache=tmp_path)
    kept = tmp_path / f"wheels/ffcv-1.0.2-py3-none-manylinux_2_34_{platform.machine()}.whl"
    kept.parent.mkdir()
    kept.touch()
    assert ffcv.self_contained_wheel(print, cache=tmp_path) == kept


@pytest.mark.usefixtures("missing")
def test_the_methods_are_tried_in_order_until_one_works(monkeypatch, tmp_path):
    tried, faults = [], iter(["no symbol", ""])
    monkeypatch.setattr(ffcv, "_refuse_hopeless", lambda _built: None)
    monkeypatch.setattr(
        ffcv._Pip, "install", lambda _self, what, *given: tried.append((what, *given[:1]))
    )
    monkeypatch.setattr(ffcv, "_import_fault", lambda: next(faults))
    kept = tmp_path / f"wheels/ffcv-1.0.2-py3-none-manylinux_2_34_{platform.machine()}.whl"
    kept.parent.mkdir()
    kept.touch()
    monkeypatch.setattr(ffcv, "_from_system", lambda *_: tried.append("system"))
    monkeypatch.setattr(ffcv, "_from_debian", lambda *_: tried.append("debian"))
    said = []
    ffcv.install(said.append)
    assert [step[0] if isinstance(step, tuple) else step for step in tried] == [
        "installing FFCV's requirements",
        "installing the built FFCV",
        "system",
    ]
    assert "  the built FFCV can't be imported (no symbol)" in said


def test_check_only_reports(capsys, monkeypatch):
    monkeypatch.setattr(ffcv, "status", lambda: (False, "not here"))
    assert ffcv.main(["--check"]) == 1
    assert ffcv.main(["--check", "--optional"]) == 0
    assert capsys.readouterr().out == "not here\nnot here\n"


def test_the_source_distribution_is_taken_by_its_checksum(tmp_path):
    commands = []

    class Recorder:
        def run(self, what, command, **more):
            commands.append(command)
            (tmp_path / "wheel" / "ffcv-1.0.2-py3-none-any.whl").touch()

    ffcv._Pip(Recorder(), None).wheel("building FFCV", tmp_path / "wheel")
    assert "--require-hashes" in commands[0]
    assert (
        tmp_path / "wheel" / "requirements.txt"
    ).read_text() == f"ffcv==1.0.2 --hash=sha256:{ffcv.SDIST_SHA256}\n"
