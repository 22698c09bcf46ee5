"""Sentences without paths: a record travels, and where its files lay says who made it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.records.schema import Summary

HIDDEN = "<path>"
QUOTED = re.compile(r"(['\"])((?:~|\.{1,2})?/[^'\"]*)\1")
ABSOLUTE = re.compile(r"(?<![\w.:/<~])(?:~|\.{1,2})?/[^\s'\"`<>:;,()\[\]]*[^\s'\"`<>:;,()\[\].]")
RELATIVE = re.compile(r"[^\s'\"`<>:;,()\[\]]+/[^\s'\"`<>:;,()\[\]]*[^\s'\"`<>:;,()\[\].]")


def without_paths(text: str, *known: Path) -> str:
    """The text with `<path>` for each path: those below `known` and the home folder, absolute ones, and
    existing ones.

    known: folders whose names may hold spaces, such as that of the results.
    """
    text = QUOTED.sub(lambda found: f"{found[1]}{HIDDEN}{found[1]}", text)
    for folder in sorted(
        {str(form) for path in (*known, _home()) for form in (path, path.absolute())}, key=len
    )[::-1]:
        if "/" in folder.strip("/."):
            text = re.sub(re.escape(folder) + r"(?:/[^\s'\"`:;,]*[^\s'\"`:;,.])?", HIDDEN, text)
    text = ABSOLUTE.sub(HIDDEN, text)
    return RELATIVE.sub(lambda found: HIDDEN if _exists(found[0]) else found[0], text)


def hide_paths(plain: Any, *known: Path) -> Any:
    """A JSON value with no path in its strings; keys stay."""
    if isinstance(plain, str):
        return without_paths(plain, *known)
    if isinstance(plain, dict):
        return {key: hide_paths(inner, *known) for key, inner in plain.items()}
    if isinstance(plain, list | tuple):
        return [hide_paths(inner, *known) for inner in plain]
    return plain


def private(summary: Summary, *known: Path) -> Summary:
    """The summary with no path in its reasons."""
    return replace(
        summary,
        status_reason=None
        if summary.status_reason is None
        else without_paths(summary.status_reason, *known),
        loader_reason=without_paths(summary.loader_reason, *known),
        missing=hide_paths(summary.missing, *known),
    )


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # an unknown user without HOME
        return Path("/")


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
