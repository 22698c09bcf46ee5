"""The commands `doctor` (checks this machine) and `verify` (checks records against their checksums)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[Path, typer.Option(help="Where records are sealed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def doctor(json: Json = False, results: Results = Path("results")) -> None:
    """Check this machine. Each line says ok, or gives the command that fixes it.

    Exit code 1 if something needed is missing.
    """
    from harness.machine.doctor import examine, lines

    findings = examine(results)
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if json:
        from json import dumps

        print(dumps({"ok": not missing, "findings": [vars(finding) for finding in findings]}, indent=2))
    else:
        print("\n".join(lines(findings)))
    if missing:
        from harness.errors import HarnessError

        raise HarnessError(f"missing: {', '.join(missing)}; the lines above say how to fix it")


def verify(
    records: Annotated[
        list[Path] | None, typer.Argument(help="Record folders; default: all under --results.")
    ] = None,
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """Recompute checksums and read every field of records.

    Exit code 1 if any record has changed since it was sealed.
    """
    from harness.records.bench import RESULT, bench_folders, verify_bench
    from harness.records.store import Store
    from harness.records.verify import verify as problems_of

    folders = records or [*Store(results).folders(), *bench_folders(results)]
    found = {
        str(folder): (verify_bench if (folder / RESULT).exists() else problems_of)(folder)
        for folder in folders
    }
    wrong = {folder: problems for folder, problems in found.items() if problems}
    if json:
        from json import dumps

        print(dumps({"ok": not wrong, "records": found}, indent=2))
    elif not found:
        if not results.is_dir():
            from harness.errors import UsageError

            raise UsageError(
                f"there is no folder {results}; give the one that holds records with --results"
            )
        print(f"no records under {results}")
    else:
        for folder, problems in wrong.items():
            print("\n".join(f"{folder}: {problem}" for problem in problems))
        print(f"{len(found) - len(wrong)} of {len(found)} records are unchanged since they were sealed")
    if wrong:
        from harness.errors import HarnessError

        raise HarnessError(f"{len(wrong)} of {len(found)} records failed the check")
