"""Errors that a user can fix.

Each has a one-sentence message that says how, and a documented exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """A failure a user can do something about. `exit_code` is the process's; see README, "Exit
    codes".
    """

    exit_code = 1  # a check failed or something needed is missing


class UsageError(HarnessError):
    """Something asked for doesn't exist, or two options don't fit together."""

    exit_code = 2


class DataError(HarnessError):
    """Images, archives or .beton files that are missing, damaged or of another kind."""

    exit_code = 3


class RunFailed(HarnessError):
    """Training or evaluation ended without a result (non-finite loss, a loader that died).

    The record has the reason.
    """

    exit_code = 4


class DeviceLost(RunFailed):
    """The device of a run failed; this process can't use it any more."""


class RecordError(HarnessError):
    """A record can't be written, read or verified (full disk, read-only folder, wrong checksum)."""

    exit_code = 5


class AlreadyRunning(HarnessError):
    """The same run is going on in another process."""

    exit_code = 6


# how the reason of a RunFailed begins where a loss was infinite or not a number
NOT_FINITE = "the loss is"
INTERRUPTED = 130  # Ctrl-C or SIGTERM: the run is sealed as interrupted first


def unknown(kind: str, name: str, known: Iterable[str], see: str) -> UsageError:
    """The error for an unknown name.

    It suggests the most similar name and says which command lists all.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"no {kind} '{name}'.{hint} See: {see}")
