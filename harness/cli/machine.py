"""`doctor` and `verify`: what this machine has, and whether records are still what was sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[Path, typer.Option(help="Where records are sealed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def doctor(json: Json = False, results: Results = Path("results")) -> None:
    """What this machine has, each thing with ok or the command that fixes it; exit code 1 if one needed is missing."""
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

        raise HarnessError(f"needed and missing: {', '.join(missing)}; fix it as said above")


def verify(
    records: Annotated[list[Path] | None, typer.Argument(help="Record folders; default: all under --results.")] = None,
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """Recompute checksums and read every field of records; exit code 1 if any is not what was sealed."""
    from harness.records.store import Store
    from harness.records.verify import verify as problems_of

    folders = records or Store(results).folders()
    found = {str(folder): problems_of(folder) for folder in folders}
    wrong = {folder: problems for folder, problems in found.items() if problems}
    if json:
        from json import dumps

        print(dumps({"ok": not wrong, "records": found}, indent=2))
    elif not found:
        if not results.is_dir():
            from harness.errors import UsageError

            raise UsageError(f"there is no folder {results}; give the one that holds records with --results")
        print(f"no records under {results}")
    else:
        for folder, problems in wrong.items():
            print("\n".join(f"{folder}: {problem}" for problem in problems))
        print(f"{len(found) - len(wrong)} of {len(found)} records are as they were sealed")
    if wrong:
        from harness.errors import HarnessError

        raise HarnessError(f"{len(wrong)} of {len(found)} records are not what was sealed")
