"""What CONTRIBUTING promises to other packages: a thing is added by one object and one entry point, without a fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MODULE = """
from dataclasses import replace

import numpy as np

from harness.data.sources.arrays import ArraySplit
from harness.data.sources.base import DataSource
from harness.probes.base import Probe, ProbeRow, Sample
from harness.report.model import Paragraph, Section
from variants.catalog import PAPER, Variant
from variants.recipes.recipe import Recipe, RecipeRow
from variants.recipes import RECIPES

WIDE = Variant(
    name="wide_conv1",
    family="paper",
    meaning="conv1 with 128 kernels",
    source="this test",
    expects="more parameters",
    spec=PAPER.but(conv1={"out": 128}),
)
LONG = RecipeRow(
    recipe=replace(RECIPES["mini"].recipe, name="mini_short", epochs=0.01),
    meaning="mini, one step",
    expected_error="none",
    expected_cost="none",
    source="this test",
    geometry="mini",
)
NUMBER = 3


def open_squares(path, cache, progress):
    # two classes that differ in brightness
    labels = np.arange(64, dtype=np.int64) % 2
    images = (60 + 120 * labels[:, None, None, None] + np.zeros((64, 32, 32, 3))).astype(np.uint8)
    return tuple(ArraySplit(split, images, labels, ("dark", "light")) for split in ("train", "val"))


SQUARES = DataSource(name="squares", description="grey squares", classes=2, open=open_squares)


class Answer(Probe):
    name = "answer"

    def sample(self, t_s):
        return [Sample(t_s=t_s, probe="answer", device="host", values={"answer": 42.0}, missing={})]


ANSWER = ProbeRow("answer", ("answer",), lambda device: Answer())


def section(report):
    return Section(title="My section", blocks=(Paragraph(text=f"{len(report.runs)} rows"),))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder as pip makes it: a module, and its entry points in a .dist-info beside it."""
    home = tmp_path / "site"
    info = home / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (home / "mine.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[alexnet_harness.variants]\nwide = mine:WIDE\n[alexnet_harness.recipes]\nlong = mine:LONG\n"
        "[alexnet_harness.data_sources]\nsquares = mine:SQUARES\n[alexnet_harness.probes]\nanswer = mine:ANSWER\n"
        "[alexnet_harness.report_sections]\nmine = mine:section\n"
    )
    return home


def harness(*words: str, path: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(path)])}
    command = [sys.executable, "-m", "harness", *words]
    return subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, check=False)


def test_an_installed_packages_variant_and_recipe_are_listed_and_run(
    package: Path, tmp_path: Path
) -> None:
    listed = json.loads(harness("list", "wide*", "--json", path=package, cwd=tmp_path).stdout)
    assert [(row["name"], row["family"]) for row in listed] == [("wide_conv1", "own")]
    words = (
        "--variant",
        "wide_conv1",
        "--recipe",
        "mini_short",
        "--data",
        "synthetic",
        "--device",
        "cpu",
    )
    done = harness("run", *words, path=package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wide_conv1: top-1 error ")
    (record,) = (tmp_path / "results").glob("2*")
    spec = json.loads((record / "spec.json").read_text())
    # a quarter
    assert (spec["net"]["layers"][0]["out"], spec["recipe"]["epochs"]) == (
        32,
        0.01,
    )


def test_an_installed_packages_data_set_probe_and_report_section_are_used(
    package: Path, tmp_path: Path
) -> None:
    assert "grey squares" in harness("data", "list", path=package, cwd=tmp_path).stdout
    words = ("--variants", "wide_conv1", "--recipe", "mini_short", "--data", "squares", "--seeds", "1")
    done = harness("reproduce", *words, path=package, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "results").glob("2*")
    assert '"answer":42.0' in (record / "telemetry.jsonl").read_text()
    assert "My section\n\n2 rows\n" in (tmp_path / "reports/reproduce/report.md").read_text()


def test_a_module_in_the_working_folder_is_named_by_its_path(package: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(MODULE)
    words = (
        "--variant",
        "rows:WIDE",
        "--recipe",
        "rows:LONG",
        "--data",
        "synthetic",
        "--device",
        "cpu",
    )
    done = harness("run", *words, path=tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wide_conv1: top-1 error ")
    shown = harness("show", "rows:WIDE", path=tmp_path, cwd=tmp_path)
    assert shown.stdout.startswith("variant    wide_conv1 (full): "), shown.stderr


def test_targets_know_an_installed_packages_variant(package: Path, tmp_path: Path) -> None:
    assert (
        "Nothing is published for wide_conv1"
        in harness("targets", "wide_conv1", path=package, cwd=tmp_path).stdout
    )


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        ("rows:NARROW", "'rows:NARROW' can't be found: module 'rows' has no attribute 'NARROW'"),
        ("half:WIDE", "'half:WIDE' can't be imported: SyntaxError: '(' was never closed"),
        (
            "rough:WIDE",
            "'rough:WIDE' can't be imported: AttributeError: 'int' object has no attribute 'name'",
        ),
        ("nothing:WIDE", "'nothing:WIDE' can't be imported: No module named 'nothing'"),
        ("rows:NUMBER", "'rows:NUMBER' is a int; a Variant is needed here"),
    ],
)
def test_a_wrong_path_is_refused_in_a_sentence(
    tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch, variant: str, sentence: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rows", raising=False)  # another folder's, of the case before
    (tmp_path / "rows.py").write_text(MODULE)
    (tmp_path / "half.py").write_text("WIDE = (")
    (tmp_path / "rough.py").write_text("WIDE = (1).name")
    said = call("run", "--variant", variant)
    assert said.code == 2
    assert said.error.startswith(sentence)


def test_a_broken_entry_point_is_named(package: Path, tmp_path: Path) -> None:
    (package / "mine.py").write_text("raise RuntimeError('half written')")
    done = harness("list", path=package, cwd=tmp_path)
    assert done.returncode == 2
    assert "entry point long = mine:LONG can't be loaded: half written" in done.stderr


@pytest.mark.parametrize(
    ("name", "taken", "command", "what"),
    [
        ("wide_conv1", "no_lrn", "list", "variant"),
        ("mini_short", "mini", "list", "recipe"),
        ("squares", "fashion_mnist", "data list", "data set"),
    ],
)
def test_a_name_of_the_project_is_refused(
    package: Path, tmp_path: Path, name: str, taken: str, command: str, what: str
) -> None:
    (package / "mine.py").write_text(MODULE.replace(f'"{name}"', f'"{taken}"'))
    done = harness(*command.split(), path=package, cwd=tmp_path)
    assert done.returncode == 2
    assert f"{what} '{taken}': there is a row of this name; choose another name" in done.stderr
