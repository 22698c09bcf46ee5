"""Entry point of `python -m harness`; the commands are in harness/cli/app.py."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from harness.errors import UsageError
from harness.setup.cache import cache_folder

# Waiting OpenMP threads sleep. If they spin, a shared 2-core machine drops from 604-732 to 109
# images/s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when torch is imported
with contextlib.suppress(UsageError):  # no home folder: the command reports it
    # read once, when numba is imported
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))


def main() -> NoReturn:
    """Run the command line. Ctrl-C during the imports ends it without a traceback."""
    try:
        from harness.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
