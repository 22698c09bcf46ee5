"""Thin sessions: each installs into one shared environment, then calls the command line. `nox -l` lists them."""

import nox

nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]
nox.needs_version = ">=2025.2.9"

PROJECT = nox.project.load_toml("pyproject.toml")
SHARED = ".nox/shared"  # torch alone is 5.6 GB with CUDA: one environment serves every session
PINS = ("-c", "constraints.txt")


def install(session: nox.Session, *groups: str) -> None:
    session.install(*PINS, "-e", ".", *nox.project.dependency_groups(PROJECT, *groups) if groups else ())
    session.run("python", "-m", "harness.setup.ffcv", "--optional", "--constraint", "constraints.txt")


@nox.session(venv_location=SHARED)
def reproduce(session: nox.Session) -> None:
    """Set-up, data, training, report. `nox -s reproduce -- --help` shows how to give it more time."""
    install(session)
    session.run("python", "-m", "harness", "reproduce", *session.posargs)


@nox.session(venv_location=SHARED)
def tests(session: nox.Session) -> None:
    """The test suite; arguments after -- go to pytest."""
    install(session, "tests")
    session.run("pytest", *session.posargs)


@nox.session(venv_location=SHARED)
def lint(session: nox.Session) -> None:
    """ruff, formatting, mypy strict, the layers of import-linter."""
    install(session, "tests", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session(venv_location=SHARED)
def bench(session: nox.Session) -> None:
    """The benchmarks: ratios measured within one run, stored by pytest-benchmark under .benchmarks/."""
    install(session, "tests")
    session.run(
        "pytest", "tests/bench", "--benchmark-enable", "--benchmark-only", "--benchmark-autosave", *session.posargs
    )


@nox.session(venv_location=SHARED)
def report(session: nox.Session) -> None:
    """Rebuild reports/<study>/ from the sealed records; arguments after -- go to `python -m harness report`."""
    install(session)
    session.run("python", "-m", "harness", "report", *session.posargs)
