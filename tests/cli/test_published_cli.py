"""`targets` and `article` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from harness.cli import published
from harness.errors import UsageError

app = typer.Typer()
app.command("targets")(published.targets)
app.command("article")(published.article)


def run(*words: str) -> str:
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(
        app, list(words), catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.output


def test_targets_of_a_row_are_printed_by_protocol_with_sources():
    output = run("targets", "grouped_2gpu")
    ten, centre = (
        output.index("ILSVRC-2010 test, ten views"),
        output.index("ILSVRC-2010 test, centre crop"),
    )
    assert "37.5" in output[ten:centre]
    assert "39.0" not in output[ten:centre]
    assert "NIPS 2012" in output


def test_targets_fit_eighty_columns():
    assert max(len(line) for line in run("targets", "code_2012").splitlines()) <= 80


def test_targets_as_json_have_fractions_and_what_was_printed():
    rows = {row["id"]: row for row in json.loads(run("targets", "code_2012_half", "--json"))}
    row = rows["run_145-half/top1_error-run_145-2010"]
    assert (row["published"], row["unit"], row["value"], row["versus"]) == (
        1.6953,
        "points",
        0.016953,
        "code_2012",
    )
    assert row["verified"] is True


def test_unknown_variant_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match=r"no variant 'no_lnr'. Did you mean 'no_lrn'\?"):
        run("targets", "no_lnr")


def test_article_prints_each_claim_with_verdict_and_test():
    output = run("article", "--verdict", "unclear")
    assert "2 claims: 0 true, 0 false, 0 partly, 2 unclear" in output
    assert "unclear" in output


def test_article_as_json_has_all_claims():
    assert [row["number"] for row in json.loads(run("article", "--json"))] == list(range(1, 68))


def test_unknown_verdict_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'false'"):
        run("article", "--verdict", "fals")


def test_importing_the_commands_loads_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pandas', 'pydantic', 'timm', 'rich.table'}"
    code = f"import sys, harness.cli.published; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"
