"""The source code of a run: its git commit, and the changes since that commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.machine.environment import Source

DIFF_LIMIT = 256 << 10  # bytes, so that a record stays small
TIMEOUT_S = 20


def source(tree: Path, missing: dict[str, str]) -> Source | None:
    """The commit and the changes since; None without git, with the reason in missing["source"].

    A harness installed from a wheel has no commit; env.json has its version.
    """
    try:
        top = _git(tree, "rev-parse", "--show-toplevel").strip()
        commit = _git(tree, "rev-parse", "HEAD").strip()
        diff = _git(tree, "diff", "HEAD", "--no-color", "--no-ext-diff")
        untracked = _git(
            tree, "ls-files", "--others", "--exclude-standard", "--", "harness", "variants"
        ).splitlines()
    except (OSError, subprocess.SubprocessError) as error:
        missing["source"] = f"no git commit: {_said(error)}"
        return None
    if Path(top) != tree:
        missing["source"] = "no git commit: the code is inside the work tree of another project"
        return None
    return Source(
        commit=commit,
        dirty=bool(diff or untracked),
        diff=diff[:DIFF_LIMIT] or None,
        diff_cut=len(diff) > DIFF_LIMIT,
        untracked=tuple(untracked),
    )


def _git(tree: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(tree), *words],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.decode("utf-8", "replace")


def _said(error: Exception) -> str:
    """The reason without any path of this machine, since it is recorded."""
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    return "the code is not in a git work tree with a commit"
