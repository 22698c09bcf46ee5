"""Runs other programs during the set-up. Their output goes to one log; a failure becomes a sentence."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from harness.errors import HarnessError


class SetupError(HarnessError):
    """A method of installation failed; the message has the reason."""


@dataclass(frozen=True)
class Steps:
    """Runs commands with `environ`; everything they print is appended to `log`."""

    log: Path
    environ: Mapping[str, str]

    def run(
        self,
        what: str,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Raises SetupError with the last line the command printed."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            try:
                code = subprocess.run(
                    command,
                    cwd=cwd,
                    env={**self.environ, **environ},
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                ).returncode
            except OSError as error:
                raise SetupError(f"{what}: {command[0]} can't be run ({error.strerror})") from error
        if code:
            raise SetupError(f"{what} failed: {self._last_error(start) or f'exit code {code}'}")

    def _last_error(self, start: int) -> str:
        """The most useful line since `start`: the compiler's first error, else the last error, else
        the last line.
        """
        with self.log.open("rb") as log:
            log.seek(start)
            lines = [
                line.strip()
                for line in log.read().decode(errors="replace").splitlines()
                if line.strip()
            ]
        compiler = [line for line in lines if re.search(r":\d+: (fatal )?error: ", line)]
        errors = [line for line in lines if re.match(r"E: |ERROR: |error: |\w+Error: ", line)]
        return (compiler[:1] or errors[-1:] or lines[-1:] or [""])[0][:300].rstrip(".")
