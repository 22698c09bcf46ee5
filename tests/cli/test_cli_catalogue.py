"""`list`, `show` and `diff` say what the catalogue holds, for people at 80 columns and for programs as JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner, Result

from harness.cli import catalogue
from harness.errors import UsageError
from harness.studies.rows import STUDIES
from variants.catalog import CATALOG
from variants.recipes import RECIPES

app = typer.Typer()
app.command("list")(catalogue.list_)
app.command("show")(catalogue.show)
app.command("diff")(catalogue.diff)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def refused(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_list_names_every_variant_within_80_columns() -> None:
    text = run("list")
    assert all(name in text for name in CATALOG)
    assert max(len(line) for line in text.splitlines()[:-1]) <= 80


def test_list_as_json_has_what_programs_need() -> None:
    rows = json.loads(run("list", "--json"))
    assert [row["name"] for row in rows] == list(CATALOG)
    assert all(
        {"name", "meaning", "parameters", "macs", "published_difference", "source"} <= set(row)
        for row in rows
    )
    no_lrn = next(row for row in rows if row["name"] == "no_lrn")
    assert (no_lrn["parameters"], no_lrn["macs"]) == (60_965_224, 724_406_816)
    assert no_lrn["source"] == CATALOG["no_lrn"].source
    assert no_lrn["published_difference"]["top1_points"] == 1.4
    assert no_lrn["published_difference"]["protocol"] == "ten_view"


def test_list_takes_a_pattern() -> None:
    assert [row["name"] for row in json.loads(run("list", "code_*", "--json"))] == [
        name for name in CATALOG if name.startswith("code_")
    ]


def test_list_shows_recipes_with_cost_and_citation() -> None:
    text = run("list", "--recipes")
    assert all(name in text for name in RECIPES)
    assert "5-6 days on two GTX 580" in text
    assert [row["name"] for row in json.loads(run("list", "--recipes", "--json"))] == list(RECIPES)


def test_show_prints_the_layer_table_with_totals() -> None:
    text = run("show", "grouped_2gpu")
    conv2 = next(line.split() for line in text.splitlines() if line.startswith("conv2"))
    assert conv2 == ["conv2", "5x5", "1", "2", "2", "256x27x27", "307,456", "223,948,800"]
    assert "60,965,224  724,406,816" in text
    assert "NIPS 2012" in text


@pytest.mark.parametrize("name", CATALOG)
def test_show_works_for_every_row_and_geometry(name: str) -> None:
    for geometry in CATALOG[name].geometries:
        shown = json.loads(run("show", name, "--geometry", geometry, "--json"))
        assert shown["parameters"] == sum(layer["parameters"] for layer in shown["layers"])
        assert shown["geometry"] == geometry


def test_diff_prints_each_difference_and_none_for_equals() -> None:
    assert "no difference" in run("diff", "grouped_2gpu", "grouped_2gpu")
    found = json.loads(run("diff", "grouped_2gpu", "no_lrn", "--json"))
    assert [(one["place"], one["what"], one["b"]) for one in found] == [
        ("norm1", "layer", "none"),
        ("norm2", "layer", "none"),
    ]
    assert "rnorm2" in run("diff", "grouped_2gpu", "code_2012")


def test_diff_in_mini_compares_nets_under_one_recipe() -> None:
    found = json.loads(run("diff", "grouped_2gpu", "one_weird_trick", "--geometry", "mini", "--json"))
    assert {one["part"] for one in found} == {"network"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "no_lnr"), "no variant 'no_lnr'. Did you mean 'no_lrn'? See: python -m harness list"),
        (("diff", "grouped_2gpu", "code_2021"), "Did you mean 'code_2012'?"),
        (("list", "nothing_*"), "no variant 'nothing_*'"),
        (("list", "papers", "--recipes"), "Did you mean 'paper'?"),
        (("show", "cifar_13pct", "--geometry", "mini"), "use cifar"),
    ],
)
def test_a_wrong_name_is_a_usage_error_that_says_what_to_do(words: tuple[str, ...], said: str) -> None:
    error = refused(*words).exception
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert said in str(error)


def test_the_catalogue_loads_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys; from harness.cli import catalogue; catalogue.list_(None, False, True); "
        "assert not {'torch', 'numpy', 'pandas', 'timm', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_list_studies_names_every_study_with_its_runs() -> None:
    rows = json.loads(run("list", "--studies", "--json"))
    assert [row["name"] for row in rows] == list(STUDIES)
    text = run("list", "--studies")
    assert all(name in text for name in STUDIES)
    # figure1: a search of 13 rates, then 5 seeds of two networks at three rates
    assert "13 + 30" in text
    assert "Did you mean 'figure1'?" in str(refused("list", "--studies", "figure").exception)
