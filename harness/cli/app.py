"""The command-line application: registers the commands, and turns errors into a sentence and an exit
code.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn, Protocol, runtime_checkable

import typer

from harness.cli import (
    bench,
    bundle,
    catalogue,
    data,
    machine,
    pages,
    published,
    reports,
    runs,
    status,
    submit,
)
from harness.cli.streams import forgive_streams, printable
from harness.errors import INTERRUPTED, HarnessError, RecordError, UsageError
from harness.signals import handle_ending
from variants.values import SpecError

INTERNAL = 70  # a bug in the harness, like EX_SOFTWARE of sysexits.h


@runtime_checkable
class UsageMistake(Protocol):
    """What typer raises for a wrong option.

    A protocol, since newer versions of typer contain their own click.
    """

    exit_code: int

    def show(self) -> None: ...


app = typer.Typer(
    name="harness",
    help="Reproduce and benchmark AlexNet. Add --debug to any command to see the traceback of an "
    "error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("list")(catalogue.list_)
app.command("show")(catalogue.show)
app.command("diff")(catalogue.diff)
app.command("targets")(published.targets)
app.command("article")(published.article)
app.command("run")(runs.run)
app.command("reproduce")(runs.reproduce)
app.command("eval")(runs.evaluate)
app.command("submit")(submit.submit)
app.command("status")(status.status)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.command("report")(reports.report)
app.command("compare")(reports.compare)
app.command("verify")(machine.verify)
app.command("verify-report")(reports.verify_report)
app.command("doctor")(machine.doctor)
app.command("bundle")(bundle.bundle)
app.command("pages")(pages.pages)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    handle_ending()
    forgive_streams()
    try:
        _refuse_ranks(words)
        code = app(
            args=[word for word in words if word != "--debug"],
            prog_name="python -m harness",
            standalone_mode=False,
        )
    except HarnessError as error:
        code = _print_error(str(error), error.exit_code, debug)
    except SpecError as error:
        code = _print_error(str(error), UsageError.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        code = _print_error(
            f"the system refuses {error.filename or 'it'}: {error.strerror or error}",
            RecordError.exit_code,
            debug,
        )
    except Exception as error:  # no traceback without --debug
        if isinstance(error, UsageMistake):
            error.show()
            sys.exit(error.exit_code)
        code = _print_error(
            f"{type(error).__name__}: {error} (a bug in the harness; --debug shows where)",
            INTERNAL,
            debug,
        )
    if code == INTERRUPTED:  # newer versions of typer turn Ctrl-C into this code themselves
        _print_error(
            "interrupted; this command lists runs that can resume: python -m harness status",
            INTERRUPTED,
            debug,
        )
    sys.exit(code or 0)


def _refuse_ranks(words: list[str]) -> None:
    """Raise UsageError where torchrun would start a command several times that works alone.

    Its first rank says so.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    if command == "run" or int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1:
        return
    if os.environ.get("RANK") != "0":
        sys.exit(UsageError.exit_code)
    raise UsageError("torchrun can start `run` only; start this command without it")


def _print_error(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {printable(sentence)}", file=sys.stderr)
    return code
