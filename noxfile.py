"""Thin sessions: each installs into one shared environment, then calls the command line.

`nox -l` lists them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
# torch alone is 5.6 GB with CUDA: one environment serves every session
SHARED = Path(".nox", "shared").resolve()
PYTHON = str(SHARED / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
PINS = ("-c", "constraints.txt")


def python(session: nox.Session, *arguments: str) -> None:
    session.run(PYTHON, *arguments, external=True)


def install(session: nox.Session, *groups: str) -> None:
    """Make the shared environment if need be; install what the session needs, and FFCV if it builds.

    `nox --no-install` leaves that out. A second checkout can so use the environment of the first one:
    ln -s FIRST/.nox .nox && PYTHONPATH=. nox --no-install -s tests
    """
    if session._runner.global_config.no_install:  # nox itself looks at it in session.install only
        return
    if not Path(PYTHON).exists():
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(SHARED), external=True)
    wanted = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    python(
        session,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        *PINS,
        "-e",
        ".",
        *wanted,
    )
    python(session, "-m", "harness.setup.ffcv", "--optional", "--constraint", "constraints.txt")


@nox.session(venv_backend="none")
def reproduce(session: nox.Session) -> None:
    """Set-up, data, training, report. `nox -s reproduce -- --help` shows how to give it more time."""
    install(session)
    python(session, "-m", "harness", "reproduce", *session.posargs)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The test suite; arguments after -- go to pytest."""
    install(session, "tests")
    python(session, "-m", "pytest", *session.posargs)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Readers of files from outside, 10,000 random cases each; arguments after -- go to pytest."""
    install(session, "tests")
    python(session, "-m", "pytest", "--hypothesis-profile=fuzz", "-m", "fuzz", *session.posargs)


@nox.session(venv_backend="none")
def soak(session: nox.Session) -> None:
    """1,000 runs in a row (or SOAK_RUNS), 70 killed runs: 45 minutes; after --: for pytest."""
    install(session, "tests")
    python(session, "-m", "pytest", "-m", "soak", *session.posargs)


@nox.session(venv_backend="none")
def cluster(session: nox.Session) -> None:
    """`submit` on a real Slurm, started on loopback and stopped again; after --: for pytest."""
    missing = [
        name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None
    ]
    if missing or os.geteuid() != 0:
        session.skip(
            f"there is no {', '.join(missing)}; on Debian: "
            "apt-get install munge slurmctld slurmd slurm-client"
            if missing
            else "slurmd needs root"
        )
    install(session, "tests")
    start = (
        "tests/cluster/slurm.sh",
        PYTHON,
        "-m",
        "pytest",
        "-m",
        "cluster",
        "tests/cluster",
        *session.posargs,
    )
    session.run("bash", *start, external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """ruff, formatting, mypy strict, the layers of import-linter."""
    install(session, "tests", "lint")
    python(session, "-m", "ruff", "check", ".")
    python(session, "-m", "ruff", "format", "--check", ".")
    python(session, "-m", "mypy")
    session.run(str(Path(PYTHON).parent / "lint-imports"), external=True)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """The benchmarks, compared with the last run on the same bench key; first three runs, for noise."""
    install(session, "tests")
    switches = ("--benchmark-enable", "--benchmark-only", "--benchmark-autosave", "-s")
    python(session, "-m", "pytest", "tests/bench", *switches, *session.posargs)
    regressions = ("-m", "harness", "bench", "regressions")
    missing = subprocess.check_output([PYTHON, *regressions, "--runs-missing"], text=True)
    for _ in range(int(missing)):
        python(session, "-m", "pytest", "tests/bench", *switches, *session.posargs)
    python(session, *regressions)


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """What needs a GPU: numbers against the CPU's, whole runs, NVML, speeds; skipped without one."""
    install(session, "tests")
    has_gpu = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)"
    if subprocess.run([PYTHON, "-c", has_gpu], check=False).returncode:
        session.skip("torch can't use a GPU here")
    python(session, "-m", "pytest", "tests/gpu", "-m", "cuda", *session.posargs)
    for measured in ("step", "roofline", "pipeline"):
        python(session, "-m", "harness", "bench", measured, "--device", "cuda")


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """Rebuild reports/<study>/ from the sealed records; arguments after -- go to `harness report`."""
    install(session)
    python(session, "-m", "harness", "report", *session.posargs)


@nox.session(venv_backend="venv")
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of what is installed (needs the network), and the licences."""
    packages = next((SHARED / "lib").glob("python*/site-packages"), None)
    if packages is None:
        session.error("nothing is installed yet; run: nox -s tests")
    session.install("--quiet", "pip-audit", "pip-licenses")
    session.run("pip-licenses", "--python", PYTHON, "--format", "markdown", "--order", "license")
    session.run("pip-audit", "--path", str(packages), "--progress-spinner", "off")
